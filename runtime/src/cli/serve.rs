//! `rmail serve`: from the configuration to a running server.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rmail_core::addr::Address;
use rmail_core::api::Origins;
use rmail_core::auth::token;
use rmail_core::config::{Config, LocalListener};
use rmail_core::directory::Hosting;
use rmail_core::dns::Name;
use rmail_core::limits::Limits;
use rmail_core::relay;
use rmail_store::service;
use rustix::fs::{Mode, OFlags};

use super::Failure;
use super::load::{LoadError, Loaded, load_or_fail};
use super::reload::Reloading;
#[cfg(feature = "acme")]
use crate::acme::AcmeConfig;
use crate::activation;
use crate::drive::DriveLimits;
use crate::handover::{Leaving, Predecessor, Program};
use crate::listen::{self, Service, Sockets};
use crate::logging;
use crate::privileges::{self, Identity};
use crate::server::{ApiConfig, ImapConfig, Listen, Server, ServerConfig, SmtpConfig, StoreConfig};
use crate::tls::{CertificateSource, PairFiles};
#[cfg(feature = "acme")]
use rmail_core::acme::{BINDING_EXPECTED, Binding};

/// Written when the configuration names no pid file and this can be written.
const PID_FILE: &str = "/run/rmail.pid";

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Write every session with SMTP, LMTP, IMAP and the HTTP API into a file of this directory, as a transcript for `rmail replay`.
    /// Passwords are not in them; mail is.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<(), Failure> {
    // Whatever a library may make: it is for us alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let given = Predecessor::find().map_err(|error| Failure(format!("cannot take over: {error}")))?;
    let Some((predecessor, sockets)) = given else {
        return start(path, options, activation::sockets().map_err(Failure::new)?, None);
    };
    start(path, options, sockets, Some(&predecessor)).inspect_err(|failure| predecessor.fail(&failure.0))
}

/// Starts a server on the sockets that are there already, and runs it. A predecessor serves until this one does.
fn start(
    path: &Path,
    options: &Options,
    mut sockets: Sockets,
    predecessor: Option<&Predecessor>,
) -> Result<(), Failure> {
    let program = Program::this();
    let (mut reloading, loaded) = Reloading::begin(path)?;
    logging::start(&log_settings(&loaded)).map_err(Failure::new)?;
    warn(&loaded);
    let config = Arc::new(ServerConfig {
        record: options.record.clone(),
        ..server_config(&loaded)?
    });
    let pid_file = PidFile::path(&loaded);
    if rustix::process::geteuid().is_root() {
        privileges::make_root(&config.mail_root).map_err(|error| {
            Failure(format!(
                "cannot make mail_root {}: {error}",
                config.mail_root.display()
            ))
        })?;
    }
    let identity = identity(&loaded, &config.mail_root)?;
    if let Some(identity) = identity.filter(|identity| !identity.is_ours()) {
        let log_file = loaded.config.log.file.as_deref().map(|file| loaded.path(file));
        become_user(path, &config, &identity, &mut sockets, &pid_file, log_file)?;
    }
    let server = Server::start_on(config, sockets, Some(program)).map_err(Failure::new)?;
    let leaving = predecessor.map(Predecessor::take_over).transpose();
    let leaving = leaving.map_err(|error| Failure(format!("cannot take over: {error}")))?;
    let _pid_file = match PidFile::write(&pid_file) {
        // Who has taken over serves, with or without it.
        Err(failure) if leaving.is_some() => {
            log::error!(target: "server", "{failure}");
            None
        }
        other => Some(other?),
    };
    if let Some(leaving) = leaving {
        adopt_from(leaving, server.adopter());
    }
    let _watch = reloading.watch(server.reloader());
    server.run(move || reload(&mut reloading)).map_err(Failure::new)
}

/// Whom the configuration names; if it names nobody, and we are root, whom the mail_root belongs to: what root made there
/// the others who work on it could not read.
fn identity(loaded: &Loaded, mail_root: &Path) -> Result<Option<Identity>, Failure> {
    let config = &loaded.config;
    let find = |user: &String| Identity::find(user, config.group.as_deref());
    if let Some(user) = &config.user {
        return find(user).map(Some).map_err(Failure::new);
    }
    let owner = privileges::owner(mail_root);
    if let Some(owner) = &owner {
        log::info!(target: "server", "event=user name={:?} why=\"the mail_root is theirs\"", owner.name());
    }
    Ok(owner)
}

/// Binds what only root may, and is root no more.
fn become_user(
    path: &Path,
    config: &ServerConfig,
    identity: &Identity,
    sockets: &mut Sockets,
    pid_file: &PidPath,
    log_file: Option<PathBuf>,
) -> Result<(), Failure> {
    for service in Service::ALL {
        if config.tls.is_some() || !service.is_implicit_tls() {
            listen::bind_early(service, config.listen.of(service), sockets).map_err(Failure::new)?;
        }
    }
    let pid_dir = pid_file.path.parent().filter(|_| pid_file.asked);
    if let Some(dir) = pid_dir {
        identity
            .make_volatile(dir)
            .map_err(|error| cannot_write(&pid_file.path, &error))?;
    }
    pid_file.prepare_for(identity)?;
    if let Some(path) = &config.listen.lmtp_socket {
        let dir = path.parent().unwrap_or(path);
        identity
            .make_volatile(dir)
            .map_err(|error| Failure(format!("lmtp.listen: cannot make {}: {error}", dir.display())))?;
        let ids = (identity.user(), identity.group());
        listen::bind_local_early(Service::Lmtp, path, ids, sockets).map_err(Failure::new)?;
    }
    if let Some(file) = log_file {
        let given = identity.give(&file);
        given.map_err(|error| Failure(format!("log.file: {}: {error}", file.display())))?;
    }
    identity.settle(&config.mail_root).map_err(Failure::new)?;
    identity.assume().map_err(Failure::new)?;
    identity.check(&config.mail_root).map_err(Failure::new)?;
    // What is read again at a reload has to be readable still.
    match load_or_fail(path).and_then(|loaded| server_config(&loaded).map(drop)) {
        Ok(()) => Ok(()),
        Err(failure) => Err(Failure(format!("as {}: {failure}", identity.name()))),
    }
}

/// The queue of the process that served before is ours as soon as it is gone.
fn adopt_from(leaving: Leaving, adopter: Option<async_channel::Sender<()>>) {
    /// Its locks may go some moments after its socket.
    const AGAIN: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(2)];
    let wait = move || {
        leaving.wait();
        for pause in AGAIN {
            std::thread::sleep(pause);
            if let Some(adopter) = &adopter {
                // Full: it will look anyway.
                let _ = adopter.try_send(());
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("leaving".to_owned()).spawn(wait) {
        log::warn!(target: "server", "event=no_thread error={:?}", error.to_string());
    }
}

/// The configuration as it is now; `None`, with the reasons in the log, if it cannot be used.
fn reload(reloading: &mut Reloading) -> Option<Arc<ServerConfig>> {
    // Whatever is wrong with the configuration: what rotates the log waits for this.
    log_or_keep(logging::reopen());
    let kept = |reason: &dyn std::fmt::Display| log::error!(target: "config", "kept the running configuration: {reason}");
    let loaded = match reloading.load() {
        Ok(loaded) => loaded,
        Err(LoadError::Unreadable(text)) => {
            kept(&text);
            return None;
        }
        Err(LoadError::Wrong(problems)) => {
            problems.iter().for_each(|problem| kept(problem));
            return None;
        }
    };
    let config = server_config(&loaded).map_err(|failure| kept(&failure)).ok()?;
    warn(&loaded);
    log_or_keep(logging::apply(&log_settings(&loaded)));
    reloading.tell(&loaded);
    Some(Arc::new(config))
}

fn log_or_keep(opened: std::io::Result<()>) {
    if let Err(error) = opened {
        log::error!(target: "config", "the log goes where it went: {error}");
    }
}

/// How to log.
fn log_settings(loaded: &Loaded) -> logging::Settings {
    let log = &loaded.config.log;
    logging::Settings {
        level: loaded.config.log_level,
        targets: log.targets.clone(),
        format: log.format,
        file: log_file(loaded),
        journal: log.journal,
    }
}

/// Where a server with this configuration logs to, unless that is standard error.
pub(super) fn log_file(loaded: &Loaded) -> Option<PathBuf> {
    loaded.config.log.file.as_ref().map(|path| loaded.path(path))
}

fn warn(loaded: &Loaded) {
    loaded
        .warnings
        .iter()
        .for_each(|problem| log::warn!(target: "config", "{problem}"));
}

/// What the server needs to know.
pub(super) fn server_config(loaded: &Loaded) -> Result<ServerConfig, Failure> {
    let config = &loaded.config;
    let mail_root = loaded.path(&config.mail_root);
    #[cfg(not(feature = "acme"))]
    if config.acme.enabled {
        let why = "acme.enabled: this rmail was built without ACME (feature `acme`)";
        return Err(Failure::new(why));
    }
    Ok(ServerConfig {
        hostname: config.hostname.clone(),
        listen: listen(loaded),
        tls: config.tls.enabled.then(|| certificate(loaded, &mail_root)),
        certificates: certificates(loaded),
        #[cfg(feature = "acme")]
        acme: acme(loaded)?,
        smtp: smtp(config),
        imap: imap(config),
        api: api(config),
        cleartext_networks: config.auth.cleartext_networks.clone(),
        trusted_networks: config.limits.trusted_networks.clone(),
        token_key: token_key(loaded)?,
        cors_origins: Origins::new(&config.exchange_api.cors_origins),
        mta_sts: config.mta_sts.policy(&config.hostname),
        service: service::Settings {
            hostname: config.hostname.clone(),
            hosting: hosting(config)?,
            relay_enabled: config.relay.enabled,
            max_message_size: config.smtp.max_message_size,
            max_queue_size: config.delivery.max_queue_size,
            retry_delays: config.relay.retry_delays.clone(),
            history_days: config.delivery.history_days,
            pbkdf2_rounds: config.auth.pbkdf2_rounds,
            rates: config.limits.rates(),
            checks: checks(config),
            greylist: config.greylist.settings(),
            ..service::Settings::default()
        },
        relay: relay::Settings::from_config(config, |key, source| loaded.secret(key, source))?,
        store: StoreConfig {
            flag_sync: Duration::from_millis(config.store.flag_sync_ms),
            poll: Duration::from_millis(config.store.poll_ms),
            sweep: Duration::from_secs(config.store.sweep),
            shared_by_hosts: config.store.shared_by_hosts,
            limits: Limits::default(),
        },
        drive: DriveLimits::default(),
        grace: Duration::from_secs(config.shutdown_grace),
        mail_root,
        record: None,
    })
}

/// The key that the configuration has for tokens.
pub(super) fn token_key(loaded: &Loaded) -> Result<Option<token::Key>, Failure> {
    const KEY: &str = "exchange_api.token_secret";
    let source = loaded.config.exchange_api.token_secret.as_ref();
    let Some(source) = source.filter(|source| !source.is_empty()) else {
        return Ok(None);
    };
    let digits = loaded.secret(KEY, source)?;
    let key = token::Key::from_hex(digits.expose());
    key.map(Some)
        .ok_or_else(|| Failure(format!("{KEY}: {}", token::KEY_EXPECTED)))
}

/// Domains and postmaster.
pub(super) fn hosting(config: &Config) -> Result<Hosting, Failure> {
    let mut hosting = Hosting {
        domains: config.domains.clone(),
        postmaster: None,
    };
    if let Some(text) = &config.postmaster {
        let whole = |domain: &rmail_core::addr::Domain| Address::new(text, domain.clone());
        let address = Address::parse(text).or_else(|| config.domains.first().and_then(whole));
        hosting.postmaster =
            Some(address.ok_or_else(|| Failure(format!("postmaster: {text} is no address")))?);
    }
    Ok(hosting)
}

pub(super) fn listen(loaded: &Loaded) -> Listen {
    let config = &loaded.config;
    let on = |hosts: &[std::net::IpAddr], port: Option<u16>| -> Vec<SocketAddr> {
        port.map(|port| hosts.iter().map(|host| SocketAddr::new(*host, port)).collect())
            .unwrap_or_default()
    };
    Listen {
        smtp: on(&config.smtp.host, config.smtp.port),
        submission: on(&config.smtp.host, config.smtp.submission_port),
        smtps: on(&config.smtp.host, config.smtp.smtps_port),
        imap: on(&config.imap.host, config.imap.port),
        imaps: on(&config.imap.host, config.imap.imaps_port),
        api: on(&config.exchange_api.host, config.exchange_api.port),
        api_tls: on(&config.exchange_api.host, config.exchange_api.secure_port),
        public: on(&config.exchange_api.host, config.exchange_api.public_port),
        public_tls: on(&config.exchange_api.host, config.exchange_api.public_secure_port),
        lmtp: match &config.lmtp.listen {
            Some(LocalListener::Tcp(address)) => vec![*address],
            _ => Vec::new(),
        },
        lmtp_socket: match &config.lmtp.listen {
            Some(LocalListener::Unix(path)) => Some(loaded.path(path)),
            _ => None,
        },
    }
}

/// What is looked at of strangers, as far as the DNS has to be asked.
fn checks(config: &Config) -> service::CheckSettings {
    let checks = &config.checks;
    service::CheckSettings {
        dnsbl: checks.dnsbl.iter().filter_map(Name::from_domain).collect(),
        dnsbl_policy: checks.dnsbl_action,
        reverse_dns: checks.reverse_dns,
    }
}

pub(super) fn certificate(loaded: &Loaded, mail_root: &Path) -> CertificateSource {
    if let (Some(cert), Some(key)) = (&loaded.config.tls.cert_file, &loaded.config.tls.key_file) {
        return CertificateSource::Files {
            cert: loaded.path(cert),
            key: loaded.path(key),
        };
    }
    #[cfg(feature = "acme")]
    if loaded.config.acme.enabled {
        return CertificateSource::Acme {
            file: crate::acme::Place::of(mail_root).certificate(),
            mail_root: mail_root.to_path_buf(),
            names: self_signed_names(loaded),
        };
    }
    CertificateSource::SelfSigned {
        mail_root: mail_root.to_path_buf(),
        names: self_signed_names(loaded),
    }
}

fn self_signed_names(loaded: &Loaded) -> Vec<String> {
    let mut names = vec![loaded.config.hostname.clone()];
    for domain in &loaded.config.domains {
        for prefix in ["mail", "autoconfig", "autodiscover", "mta-sts"] {
            let name = format!("{prefix}.{domain}");
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// `acme.*`, if it is on.
#[cfg(feature = "acme")]
pub(super) fn acme(loaded: &Loaded) -> Result<Option<AcmeConfig>, Failure> {
    const KEY: &str = "acme.eab_hmac_key";
    let (config, acme) = (&loaded.config, &loaded.config.acme);
    if !acme.enabled {
        return Ok(None);
    }
    let binding = match (&acme.eab_key_id, &acme.eab_hmac_key) {
        (Some(id), Some(source)) => {
            let binding = Binding::new(id, &loaded.secret(KEY, source)?);
            Some(binding.ok_or_else(|| Failure(format!("{KEY}: {BINDING_EXPECTED}")))?)
        }
        _ => None,
    };
    Ok(Some(AcmeConfig {
        directory: acme.directory.clone(),
        email: acme.email.clone(),
        names: acme.names(&config.hostname),
        challenge: acme.challenge,
        binding,
        ca_file: acme.ca_file.as_ref().map(|file| loaded.path(file)),
        renew_days: acme.renew_days,
        dns_servers: config.relay.dns_servers.clone(),
    }))
}

/// The pairs for other names.
pub(super) fn certificates(loaded: &Loaded) -> Vec<PairFiles> {
    let pairs = loaded.config.tls.certificates.iter();
    pairs
        .map(|pair| PairFiles {
            cert: loaded.path(&pair.cert_file),
            key: loaded.path(&pair.key_file),
        })
        .collect()
}

fn smtp(config: &Config) -> SmtpConfig {
    let smtp = &config.smtp;
    SmtpConfig {
        max_connections: smtp.max_connections,
        per_address: config.limits.connections_per_address.smtp,
        auth_on_mx: smtp.auth_on_25,
        max_message_size: smtp.max_message_size,
        max_recipients: smtp.max_recipients,
        max_messages: smtp.max_messages_per_connection,
        max_text_line: smtp.max_text_line,
        bare_lf: smtp.bare_lf,
        max_errors: smtp.max_errors,
        helo: config.checks.helo,
        max_commands: smtp.max_commands,
        command_timeout: Duration::from_secs(smtp.command_timeout),
        data_timeout: Duration::from_secs(smtp.data_timeout),
        max_hold: smtp.max_hold,
    }
}

fn api(config: &Config) -> ApiConfig {
    ApiConfig {
        max_connections: config.exchange_api.max_connections,
        per_address: config.limits.connections_per_address.api,
    }
}

fn imap(config: &Config) -> ImapConfig {
    let imap = &config.imap;
    ImapConfig {
        max_connections: imap.max_connections,
        per_address: config.limits.connections_per_address.imap,
        max_message_size: config.smtp.max_message_size,
        autologout: Duration::from_secs(imap.autologout),
        login_timeout: Duration::from_secs(imap.login_timeout),
        idle_keepalive: Duration::from_secs(imap.idle_keepalive),
    }
}

/// Where the process id goes.
#[derive(Clone, Debug)]
struct PidPath {
    path: PathBuf,
    /// The configuration names it: it has to be there.
    asked: bool,
}

impl PidPath {
    /// Makes the file for a user who may not make it in its directory.
    fn prepare_for(&self, identity: &Identity) -> Result<(), Failure> {
        let made = write_pid(&self.path).and_then(|()| identity.give(&self.path));
        match made {
            Err(error) if self.asked => Err(cannot_write(&self.path, &error)),
            _ => Ok(()),
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure(format!("pid_file: cannot write {}: {error}", path.display()))
}

/// Others may read it.
fn write_pid(path: &Path) -> io::Result<()> {
    // Its directory may be that of another user, who must not have root write elsewhere.
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    writeln!(file, "{}", std::process::id())?;
    // Where it is not ours to change, it is as its owner wants it.
    let _ = file.set_permissions(std::fs::Permissions::from_mode(0o644));
    Ok(())
}

/// The file with our process id; removed when dropped.
struct PidFile(Option<PathBuf>);

impl PidFile {
    fn path(loaded: &Loaded) -> PidPath {
        let named = loaded.config.pid_file.as_deref().map(|path| loaded.path(path));
        PidPath {
            asked: named.is_some(),
            path: named.unwrap_or_else(|| PathBuf::from(PID_FILE)),
        }
    }

    fn write(file: &PidPath) -> Result<Self, Failure> {
        match write_pid(&file.path) {
            Ok(()) => Ok(Self(Some(file.path.clone()))),
            Err(error) if file.asked => Err(cannot_write(&file.path, &error)),
            Err(_) => Ok(Self(None)),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another server may have taken it over meanwhile: remove only our own.
        let Some(path) = &self.0 else { return };
        let ours =
            std::fs::read_to_string(path).is_ok_and(|text| text.trim() == std::process::id().to_string());
        if !ours {
            return;
        }
        let removed = match std::fs::remove_file(path) {
            // The directory is not ours, since we are not root any more: an empty file names nobody.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => std::fs::write(path, ""),
            other => other,
        };
        if let Err(error) = removed {
            log::warn!(target: "server", "cannot remove {}: {error}", path.display());
        }
    }
}
