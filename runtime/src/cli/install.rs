//! `rmail install` and `rmail uninstall`: the unit of systemd.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anstream::{eprintln, println};

use super::Failure;
use super::load::{Loaded, load_or_fail};
use super::service::{has_systemd, systemctl};
use crate::privileges::{Identity, make_root};
use crate::service::unit::Unit;

/// Where units of this host are.
const DIRECTORY: &str = "/etc/systemd/system";
const FILE: &str = "rmail.service";

/// Options of `install`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:\n  rmail install --dry-run               # prints the unit, and does nothing\n  \
rmail install --user rmail && rmail start")]
pub(super) struct Options {
    /// As whom the server runs; without it whom `user` names in the configuration, or whom the mail_root belongs to.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Only says what it would do.
    #[arg(long)]
    dry_run: bool,
    /// Where the unit is written.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY, hide = true)]
    unit_dir: PathBuf,
}

/// Options of `uninstall`.
#[derive(Debug, clap::Args)]
pub(super) struct RemoveOptions {
    /// Only says what it would do.
    #[arg(long)]
    dry_run: bool,
    /// Where the unit is.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY, hide = true)]
    unit_dir: PathBuf,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let loaded = load_or_fail(config)?;
    let unit = unit(config, &loaded, options.user.as_deref())?;
    let file = options.unit_dir.join(FILE);
    let text = unit.text();
    if options.dry_run {
        println!("# would write {}:\n{text}", file.display());
    } else {
        make_places(&loaded, &unit)?;
        write(&file, &text)?;
        println!("wrote {}", file.display());
    }
    let mut steps = vec![vec!["daemon-reload"], vec!["enable", FILE]];
    if options.unit_dir != Path::new(DIRECTORY) {
        steps.clear();
    }
    for step in &steps {
        carry_out(step, options.dry_run)?;
    }
    review(&unit, &loaded);
    Ok(())
}

pub(super) fn remove(options: &RemoveOptions) -> Result<(), Failure> {
    let file = options.unit_dir.join(FILE);
    if !file.exists() {
        return Err(Failure(format!(
            "{} is not there: nothing is installed",
            file.display()
        )));
    }
    let ours = options.unit_dir == Path::new(DIRECTORY);
    if ours {
        carry_out(&["disable", "--now", FILE], options.dry_run)?;
    }
    if options.dry_run {
        println!("would remove {}", file.display());
    } else {
        fs::remove_file(&file).map_err(|error| not_ours(&file, &error))?;
        println!("removed {}", file.display());
    }
    if ours {
        carry_out(&["daemon-reload"], options.dry_run)?;
    }
    println!("configuration and mail stay where they are");
    Ok(())
}

/// What a unit may write to has to be there when it starts.
fn make_places(loaded: &Loaded, unit: &Unit) -> Result<(), Failure> {
    let identity = unit
        .user
        .as_ref()
        .map(|user| Identity::find(user, unit.group.as_deref()));
    let identity = identity.transpose().map_err(Failure::new)?;
    let root = loaded.path(&loaded.config.mail_root);
    for path in unit.writable.iter().filter(|path| !path.exists()) {
        let made = make_root(path);
        let made = made.and_then(|()| identity.as_ref().map_or(Ok(()), |identity| identity.give(path)));
        made.map_err(|error| not_ours(path, &error))?;
        println!("made {}", path.display());
    }
    identity.map_or(Ok(()), |identity| identity.settle(&root).map_err(Failure::new))
}

/// Says what it does. Without systemd only the file is dealt with.
fn carry_out(step: &[&str], dry_run: bool) -> Result<(), Failure> {
    let words = format!("systemctl {}", step.join(" "));
    if dry_run {
        println!("would run {words}");
        return Ok(());
    }
    if !has_systemd() {
        eprintln!("systemd does not run here: left out {words}");
        return Ok(());
    }
    println!("{words}");
    systemctl(step)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(|error| not_ours(directory, &error))?;
    }
    // Whole, or not at all; readable for all, as units are.
    let temporary = file.with_extension("service.tmp");
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, file));
    written.map_err(|error| not_ours(file, &error))
}

fn not_ours(path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "; run it as root (sudo), or look at it with --dry-run",
        _ => "",
    };
    Failure(format!("cannot change {}: {error}{hint}", path.display()))
}

/// The unit for a configuration, with this program as it is called now.
fn unit(config: &Path, loaded: &Loaded, user: Option<&str>) -> Result<Unit, Failure> {
    let group = loaded.config.group.clone().filter(|_| user.is_none());
    let whole = |path: &Path| {
        std::path::absolute(path).map_err(|error| Failure(format!("{}: {error}", path.display())))
    };
    let directory =
        std::env::current_dir().map_err(|error| Failure(format!("the working directory: {error}")))?;
    let mail_root = whole(&loaded.path(&loaded.config.mail_root))?;
    let mut writable = vec![mail_root.clone()];
    if let Some(file) = &loaded.config.pid_file {
        writable.extend(whole(&loaded.path(file))?.parent().map(Path::to_path_buf));
    }
    if let Some(rmail_core::config::LocalListener::Unix(path)) = &loaded.config.lmtp.listen {
        writable.extend(whole(&loaded.path(path))?.parent().map(Path::to_path_buf));
    }
    if let Some(file) = &loaded.config.log.file {
        writable.extend(whole(&loaded.path(file))?.parent().map(Path::to_path_buf));
    }
    writable.sort_unstable();
    writable.dedup();
    let user = match user {
        Some(name) => Some(
            Identity::find(name, None)
                .map_err(Failure::new)?
                .name()
                .to_owned(),
        ),
        None => loaded.config.user.clone().or_else(|| owner(&mail_root)),
    };
    let (runtime, writable) = writable
        .into_iter()
        .partition(|path| Unit::is_volatile(path) && is_free(path, user.as_deref()));
    let program =
        std::env::current_exe().map_err(|error| Failure(format!("this program's path: {error}")))?;
    Ok(Unit {
        program,
        config: whole(config)?,
        directory,
        user,
        group,
        writable,
        runtime,
        grace: loaded.config.shutdown_grace,
    })
}

/// Whether a directory below `/run` is nobody else's: systemd takes away at the end what it made at the start.
fn is_free(path: &Path, user: Option<&str>) -> bool {
    match fs::metadata(path) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        // By its name: it belongs to root where the server runs as root.
        Ok(_) if path.ends_with("run/rmail") => true,
        Ok(found) => {
            let user = user.and_then(|user| Identity::find(user, None).ok());
            user.is_some_and(|user| user.user() == found.uid() && found.uid() != 0)
        }
    }
}

/// Whom a mail_root belongs to, if it is not root.
fn owner(mail_root: &Path) -> Option<String> {
    let user = fs::metadata(mail_root).ok()?.uid();
    (user != 0).then(|| match Identity::find(&user.to_string(), None) {
        Ok(identity) => identity.name().to_owned(),
        Err(_) => user.to_string(),
    })
}

/// What a person should look at.
fn review(unit: &Unit, loaded: &Loaded) {
    println!("\nReview before `rmail start`:");
    match &unit.user {
        Some(user) => {
            println!(
                "  it runs as {user}, who has to read {} and what it names,",
                unit.config.display()
            );
            println!(
                "  and to own the mail_root: chown -R {user}: {}",
                loaded.path(&loaded.config.mail_root).display()
            );
        }
        None => println!(
            "  it runs as root: `rmail install --user NAME`, or the key `user`, has it run with fewer rights"
        ),
    }
    if !unit.program.starts_with("/usr") && !unit.program.starts_with("/opt") {
        println!(
            "  it starts {}, which has to stay there, where {}",
            unit.program.display(),
            "the service may read it (ProtectHome=read-only)"
        );
    }
    println!("  it may write to {}", list(&unit.writable));
    if !unit.runtime.is_empty() {
        println!("  systemd makes {} at each start", list(&unit.runtime));
    }
    if unit.user.is_some() && unit.writable.iter().any(|path| path == Path::new("/run")) {
        println!(
            "  it may not make files in /run itself: name a directory below, such as /run/rmail/rmail.pid"
        );
    }
    println!("  changes: systemctl edit rmail; then `rmail start`, `rmail status`, `rmail logs --follow`");
}

fn list(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    all.join(", ")
}
