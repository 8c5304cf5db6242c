//! The one table of checks: their names, which are for good, how bad it is when one does not hold, and what to do then.

use super::Phase;

/// How bad it is when a check does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something to know.
    Note,
    /// Something to see to.
    Warning,
    /// Something does not work, or is dangerous.
    Failure,
}

/// Something that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// `smtp.auth_on_cleartext`
    pub id: &'static str,
    /// When it is looked at.
    pub phase: Phase,
    /// How bad it is when it does not hold.
    pub severity: Severity,
    /// What holds, in a few words.
    pub title: &'static str,
    /// What to do when it does not.
    pub advice: &'static str,
}

macro_rules! checks {
    ($($phase:ident { $($name:ident $id:literal $severity:ident $title:literal $advice:literal;)* })*) => {
        /// A check, by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Id { $($(#[doc = $title] $name,)*)* }

        /// Every check there is, in the order of [`Id`].
        pub const CHECKS: &[Check] = &[$($(Check {
            id: $id, phase: Phase::$phase, severity: Severity::$severity, title: $title, advice: $advice,
        },)*)*];

        impl Id {
            /// What the table says of it.
            #[must_use]
            pub const fn check(self) -> &'static Check {
                match self {
                    $($(Self::$name => &Check {
                        id: $id, phase: Phase::$phase, severity: Severity::$severity, title: $title, advice: $advice,
                    },)*)*
                }
            }
        }
    };
}

checks! {
    Configuration {
        ConfigLoads "config.loads" Failure "the configuration can be used"
            "`rmail config check` tells every mistake at once; `rmail init --print` shows a whole configuration";
        ConfigWarnings "config.warnings" Warning "nothing in it is doubtful"
            "change the key that is named, or leave it if it is meant so";
        ConfigHostname "config.hostname" Warning "the host has a name of its own"
            "set `hostname` to the name that the MX record has and that the address leads back to (PTR)";
        ConfigPostmaster "config.postmaster" Warning "somebody reads postmaster@ and abuse@"
            "`rmail user add NAME@DOMAIN --admin`, or set `postmaster`";
        ConfigTrust "config.trust" Warning "no network of strangers is trusted"
            "take the wide network out of `limits.trusted_networks` and `auth.cleartext_networks`";
        DiskOwner "disk.owner" Failure "this program is the server's user"
            "run it as the user who owns mail_root: `sudo -u '#UID' rmail diagnose`; files of another user are of no use to the server";
        DiskWritable "disk.writable" Failure "mail_root can be written, and synced"
            "look at owner, mode and mount of mail_root; df tells whether the disk is full or read-only";
        DiskMode "disk.mode" Failure "nobody else can read or write what is secret"
            "chmod 0700 mail_root; chmod 0600 the files that are named";
        DiskSpace "disk.space" Warning "there is room for mail"
            "make room, or move mail_root to a larger disk: below 50 MiB mail is refused with 452";
        TlsKeyMode "tls.key_mode" Failure "only the server can read the private key"
            "chmod 0600 the key file and give it to the server's user";
        UsersBroken "users.broken" Failure "every user's file can be read"
            "mend the JSON at the place that is named; until then the last good copy holds, and without one mail waits";
        UsersQuota "users.quota" Warning "no user's quota is used up"
            "`rmail user set USER --quota-mb N`, or ask the user to delete mail: new mail is refused with 452 or 552";
        AliasesBroken "aliases.broken" Failure "every domain's aliases.json can be read"
            "mend the JSON at the place that is named; `rmail alias list` reads it again";
        PortSmtp "port.smtp" Failure "SMTP answers"
            "is the server running (`rmail status`), is `smtp.port` free for it, does a firewall close it?";
        PortSubmission "port.submission" Failure "submission answers"
            "is the server running (`rmail status`), is `smtp.submission_port` free for it, does a firewall close it?";
        PortSmtps "port.smtps" Failure "submission over TLS answers"
            "is the server running (`rmail status`), is `smtp.smtps_port` free for it, does a firewall close it?";
        PortImap "port.imap" Failure "IMAP answers"
            "is the server running (`rmail status`), is `imap.port` free for it, does a firewall close it?";
        PortImaps "port.imaps" Failure "IMAP over TLS answers"
            "is the server running (`rmail status`), is `imap.imaps_port` free for it, does a firewall close it?";
        PortApi "port.api" Failure "the HTTP API answers"
            "is the server running (`rmail status`), is `exchange_api.port` free for it, does a firewall close it?";
        PortApiSecure "port.api_secure" Failure "the HTTP API over TLS answers"
            "is the server running (`rmail status`), is `exchange_api.secure_port` free for it, does a firewall close it?";
        PortHostname "port.hostname" Warning "the server greets with the configured name"
            "restart the server after changing `hostname`; or another program has the port";
        TlsEnabled "tls.enabled" Warning "connections can be encrypted"
            "set `tls.enabled` to true, unless a proxy on this host does TLS and nobody else reaches the ports";
        TlsHandshake "tls.handshake" Failure "TLS 1.2 or 1.3 is agreed on"
            "look at the log (target tls) of the server: `rmail config check` says what is wrong with the certificate";
        TlsOldVersion "tls.old_version" Failure "TLS 1.1 and older are refused"
            "whatever does TLS in front of the server has to be told to begin with TLS 1.2 (RFC 8996)";
        TlsExpired "tls.expired" Failure "the certificate is valid today"
            "renew it and send SIGHUP; is the clock right?";
        TlsExpiresSoon "tls.expires_soon" Warning "it stays valid for the next two weeks"
            "renew it now, and find out why that did not happen by itself";
        TlsName "tls.name" Warning "it is good for the host's name"
            "get a certificate with the name that clients use, or correct `hostname`";
        TlsTrusted "tls.trusted" Warning "clients trust it"
            "get a certificate of a public authority, and put its intermediate certificates into `tls.cert_file` too";
        TlsCurrent "tls.current" Warning "the server shows the certificate that is on disk"
            "send SIGHUP; if that does not help, the log (target tls) says why the new one was not taken";
        RelayEnabled "relay.enabled" Note "mail to other domains is relayed"
            "set `relay.enabled` to true if users are to send mail to others";
        RelaySmarthost "relay.smarthost" Failure "the smarthost answers"
            "look at `relay.smarthost` and `relay.smarthost_port`; does a firewall close outgoing connections?";
        RelayQueue "relay.queue" Warning "nothing waits long in the queue"
            "`rmail queue list` says what waits and for what, `rmail queue stats` for whom";
        DnsResolver "dns.resolver" Warning "a name server answers"
            "look at `relay.dns_servers` or /etc/resolv.conf: without a name server no mail leaves";
        DnsRecords "dns.records" Warning "what is published leads to this server"
            "`rmail dns` shows the records to publish";
    }
    Users {
        UserCreate "user.create" Failure "a user can be made"
            "`rmail fsck` and the mode of mail_root/domains may say why not";
        UserFile "user.file" Failure "its file is where it belongs, for nobody else to read"
            "was umask or an ACL set on mail_root? chmod 0600 the user.json files";
        UserHash "user.hash" Failure "only a salted hash of the password is kept"
            "set `auth.pbkdf2_rounds` to 300000 and let users log in again";
        UserMailboxes "user.mailboxes" Failure "it has the six mailboxes of a new user"
            "`rmail fsck --user USER` looks at one account";
        UserLogin "user.login" Failure "it can log in"
            "does the server run on this mail_root? `rmail log-level auth DEBUG` shows why a login fails";
        UserWrongPassword "user.wrong_password" Failure "a wrong password is refused"
            "stop the server: it lets anybody in; is this the right program?";
        UserDisabled "user.disabled" Failure "it cannot when it is disabled"
            "does the server run on this mail_root, and does it see changes (`store.shared_by_hosts` on network file systems)?";
        UserAdmin "user.admin" Failure "only administrators administer"
            "does the server run on this mail_root, and does it see changes (`store.shared_by_hosts` on network file systems)?";
        UserQuota "user.quota" Failure "its quota is what was set"
            "does the server run on this mail_root, and does it see changes (`store.shared_by_hosts` on network file systems)?";
    }
    Store {
        StoreAppend "store.append" Failure "a message can be stored" "look at the disk: `df`, `dmesg`, and the mode of the directory that is named";
        StoreShards "store.shards" Failure "it is one file in a shard directory" "`rmail fsck` explains what is on disk";
        StoreRead "store.read" Failure "it is read back, octet by octet" "the disk returns other octets than were written: look at `dmesg`, restore from a backup";
        StoreList "store.list" Failure "mailboxes are listed" "`rmail fsck` explains what is on disk";
        StoreFlags "store.flags" Failure "flags change, and stay" "the file system has to support rename(2) and flock(2) as POSIX has them";
        StoreCopy "store.copy" Failure "a copy is another name of the same file" "the file system has to support hard links";
        StoreDelete "store.delete" Failure "what is deleted is gone" "`rmail fsck` explains what is on disk";
        StoreQuota "store.quota" Failure "usage is counted, and the quota holds" "`rmail fsck --repair` counts anew";
        StoreSubscriptions "store.subscriptions" Failure "subscriptions are kept" "`rmail fsck` explains what is on disk";
        StoreMailboxes "store.mailboxes" Failure "mailboxes are made, renamed and removed" "`rmail fsck` explains what is on disk";
        StoreShared "store.shared" Failure "the server sees what was stored beside it"
            "the server runs on another mail_root, or does not see changes (`store.shared_by_hosts` on network file systems)";
    }
    Smtp {
        SmtpRateLimits "smtp.rate_limits" Warning "limits leave users room and stop guessing"
            "go back to the defaults of `limits.…`: `rmail init --print` shows them";
        SmtpGreeting "smtp.greeting" Failure "the greeting is one (RFC 5321 §4.2)" "another program has the port, or all connections are in use (`smtp.max_connections`)";
        SmtpEhlo "smtp.ehlo" Failure "EHLO offers what clients need" "something between here and the server takes extensions away, such as a firewall that reads SMTP";
        SmtpStarttls "smtp.starttls" Failure "STARTTLS is offered and works" "is `tls.enabled` true? a firewall that reads SMTP may take STARTTLS away";
        SmtpStarttlsInjection "smtp.starttls_injection" Failure "what comes before TLS does not count behind it" "stop whatever does TLS in front of the server: it lets attackers put commands into sessions (CVE-2011-0411)";
        SmtpAuthOnCleartext "smtp.auth_on_cleartext" Failure "no password is asked for in clear text" "set `tls.enabled` to true and `auth.cleartext_networks` to []";
        SmtpAuthOffered "smtp.auth_offered" Failure "AUTH PLAIN is offered over TLS" "on port 25 `smtp.auth_on_25` decides; a firewall that reads SMTP may take it away";
        SmtpAuth "smtp.auth" Failure "the right password is taken" "`rmail log-level auth DEBUG` shows why a login fails; `rmail unban --list` who is locked out";
        SmtpAuthWrong "smtp.auth_wrong" Failure "a wrong one is not" "stop the server: it lets anybody send; is this the right program?";
        SmtpAuthRequired "smtp.auth_required" Failure "submission wants a login first" "the submission port takes mail from anybody: is this the right program?";
        SmtpOpenRelay "smtp.open_relay" Failure "strangers cannot send to other domains" "stop the server: spammers will find it within hours; look at whatever forwards connections to it and hides who connects";
        SmtpUnknownUser "smtp.unknown_user" Failure "mail for nobody is refused at once" "is there a catch-all alias (`rmail alias list`)?";
        SmtpOwnSender "smtp.own_sender" Warning "strangers cannot send in the name of a hosted domain" "`reject_own_sender` in the domain's domain.json is false, or this address is trusted";
        SmtpSpoofing "smtp.spoofing" Failure "users cannot send in the name of others" "look at `send_as` of the user and at whatever is in front of the server";
        SmtpSpoofingHeader "smtp.spoofing_header" Failure "nor write another From" "look at `send_as` of the user and at whatever is in front of the server";
        SmtpExternal "smtp.external" Failure "users can send to other domains" "set `relay.enabled`; the reply says what else is missing";
        SmtpNullSender "smtp.null_sender" Failure "bounces are taken (RFC 5321 §4.5.5)" "look at whatever is in front of the server";
        SmtpPostmaster "smtp.postmaster" Failure "postmaster is taken (RFC 5321 §4.5.1)" "`rmail user add NAME@DOMAIN --admin`, or set `postmaster`";
        SmtpSequence "smtp.sequence" Failure "commands out of order are refused" "is this the right program?";
        SmtpUnknownCommand "smtp.unknown_command" Failure "unknown commands are refused, and no harm" "is this the right program?";
        SmtpVrfy "smtp.vrfy" Warning "VRFY and EXPN tell nobody's address" "turn VRFY and EXPN off: they tell spammers who is there";
        SmtpSize "smtp.size" Failure "messages that are too large are refused at MAIL" "SIZE is offered (RFC 1870) and has to hold";
        SmtpSmuggling "smtp.smuggling" Failure "only CRLF.CRLF ends a message" "stop whatever is in front of the server, or tell a server of another kind to refuse bare LF (Postfix: `smtpd_forbid_bare_newline`): it takes other line ends for the end of mail (CVE-2023-51764)";
        SmtpTranscripts "smtp.transcripts" Failure "dialogues go as they stand in the program's transcripts" "`rmail replay --shipped` shows where they part; compare the versions of server and rmail";
        SmtpSlow "smtp.slow" Warning "replies come within three seconds" "look at the load of the host, and at `checks.…`: a DNS list or resolver that does not answer delays each connection";
        SmtpDeliverMx "smtp.deliver_mx" Failure "mail from outside is taken" "the reply says why not";
        SmtpDeliverSubmission "smtp.deliver_submission" Failure "mail is taken on the submission port" "the reply says why not";
        SmtpDeliverSmtps "smtp.deliver_smtps" Failure "mail is taken on the submission port with TLS" "the reply says why not";
        SmtpRelayQueue "smtp.relay_queue" Failure "mail to other domains is queued on disk" "the reply says why not; `rmail queue list` shows the queue";
    }
    Delivery {
        DeliveryArrives "delivery.arrives" Failure "every message is in INBOX within five seconds" "`rmail trace ID` tells what became of it; are there aliases or forwarding for all users?";
        DeliverySlow "delivery.slow" Warning "and within two" "look at the load of the host and its disk: a delivery syncs once";
        DeliveryIntact "delivery.intact" Failure "its text is as it was sent" "something between here and the server changes mail";
        DeliveryReceived "delivery.received" Warning "and it has a Received field" "something between here and the server changes mail";
        ImapIdle "imap.idle" Failure "IDLE tells of new mail" "does a proxy buffer IMAP? are inotify instances used up (`fs.inotify.max_user_instances`)?";
        ImapIdleSlow "imap.idle_slow" Warning "within two seconds" "does a proxy buffer IMAP? `store.poll_ms` counts where the system does not tell of changes";
    }
    Imap {
        ImapGreeting "imap.greeting" Failure "the greeting is one (RFC 9051 §7.1)" "another program has the port, or all connections are in use (`imap.max_connections`)";
        ImapCapability "imap.capability" Failure "CAPABILITY names IMAP4rev1 or IMAP4rev2" "is this an IMAP server?";
        ImapStarttls "imap.starttls" Failure "STARTTLS is offered and works" "is `tls.enabled` true?";
        ImapAuthOnCleartext "imap.auth_on_cleartext" Failure "no password is asked for in clear text" "set `tls.enabled` to true and `auth.cleartext_networks` to []";
        ImapLogin "imap.login" Failure "the right password is taken" "`rmail log-level auth DEBUG` shows why a login fails; `rmail unban --list` who is locked out";
        ImapBadCommand "imap.bad_command" Failure "unknown commands are refused with BAD" "is this an IMAP server?";
        ImapId "imap.id" Note "ID tells who it is" "";
        ImapNamespace "imap.namespace" Failure "NAMESPACE tells where names begin" "is this an IMAP server?";
        ImapEnable "imap.enable" Failure "ENABLE switches extensions on" "is this an IMAP server?";
        ImapCreate "imap.create" Failure "a mailbox with a blank in its name is made" "the reply says why not";
        ImapList "imap.list" Failure "LIST finds by patterns" "is this an IMAP server?";
        ImapSpecialUse "imap.special_use" Failure "mailboxes have their uses (RFC 6154)" "users who were made by hand get them with the next login";
        ImapSelect "imap.select" Failure "SELECT tells all that clients need" "is this an IMAP server?";
        ImapAppend "imap.append" Failure "APPEND stores a message" "the reply says why not";
        ImapFetch "imap.fetch" Failure "FETCH gives it back" "is this an IMAP server?";
        ImapStore "imap.store" Failure "STORE changes flags" "the reply says why not";
        ImapSearch "imap.search" Failure "SEARCH finds it by many keys" "is this an IMAP server?";
        ImapCheck "imap.check" Failure "CHECK and NOOP answer" "is this an IMAP server?";
        ImapCopy "imap.copy" Failure "COPY copies, and says where to" "the reply says why not";
        ImapMove "imap.move" Failure "MOVE moves" "the reply says why not";
        ImapExpunge "imap.expunge" Failure "EXPUNGE removes what is deleted" "the reply says why not";
        ImapUnselect "imap.unselect" Failure "UNSELECT leaves without removing" "is this an IMAP server?";
        ImapClose "imap.close" Failure "CLOSE leaves and removes" "is this an IMAP server?";
        ImapRename "imap.rename" Failure "RENAME renames" "the reply says why not";
        ImapDelete "imap.delete" Failure "DELETE removes the mailbox" "the reply says why not";
        ImapTranscripts "imap.transcripts" Failure "dialogues go as they stand in the program's transcripts" "`rmail replay --shipped` shows where they part; compare the versions of server and rmail";
        ImapLogout "imap.logout" Failure "LOGOUT says BYE" "is this an IMAP server?";
    }
    Api {
        ApiHealth "api.health" Failure "the server says that it is well" "GET /health names the listener or queue that is not";
        ApiAutoconfig "api.autoconfig" Failure "autoconfig names servers and ports" "is `hostname` set, are the ports on?";
        ApiAutodiscover "api.autodiscover" Failure "autodiscover answers" "is `hostname` set, are the ports on?";
        ApiCors "api.cors" Warning "browsers may use it" "`exchange_api.cors_origins` says whose pages may";
        ApiNoToken "api.no_token" Failure "without a token nothing is shown" "stop the server: anybody can read mail; look at whatever is in front of it";
        ApiLogin "api.login" Failure "the right password gets a token" "`rmail log-level auth DEBUG` shows why a login fails; `rmail unban --list` who is locked out";
        ApiBadToken "api.bad_token" Failure "a forged token is refused" "stop the server: anybody can read mail; look at whatever is in front of it";
        ApiTranscripts "api.transcripts" Failure "requests are answered as they stand in the program's transcripts" "`rmail replay --shipped` shows where they part; compare the versions of server and rmail";
        ApiExpiry "api.expiry" Failure "an old token is refused" "is the clock right?";
        ApiCleartext "api.cleartext" Failure "no password is taken in clear text" "set `tls.enabled` to true and `auth.cleartext_networks` to []";
        ApiFolders "api.folders" Failure "folders are listed" "the answer says why not";
        ApiAppend "api.append" Failure "a message can be appended" "the answer says why not";
        ApiMessages "api.messages" Failure "messages are listed page by page" "the answer says why not";
        ApiFlags "api.flags" Failure "flags change" "the answer says why not";
        ApiSend "api.send" Failure "mail can be sent" "the answer says why not";
        ApiBadRequest "api.bad_request" Failure "wrong requests are refused with 400" "is this the right program?";
        ApiAliasForbidden "api.alias_forbidden" Failure "aliases are for administrators" "stop the server: any user can take others' mail; is this the right program?";
        ApiAliasAdmin "api.alias_admin" Failure "who can make and remove them" "the answer says why not";
        ApiLockout "api.lockout" Failure "guessing of passwords is stopped with 429" "set `limits.auth_failures_per_10_minutes`, and take networks of strangers out of `limits.trusted_networks`";
    }
    Cleanup {
        CleanupAliases "cleanup.aliases" Failure "no alias of the diagnosis is left" "`rmail alias list` shows it, `rmail alias remove` removes it";
        CleanupQueue "cleanup.queue" Failure "nothing of it is left in the queue" "`rmail queue list` shows it, `rmail queue fail` removes it";
        CleanupLockouts "cleanup.lockouts" Warning "nobody is locked out because of it" "`rmail unban --list` shows it, `rmail unban` lifts it";
        CleanupMessages "cleanup.messages" Warning "its messages are gone from the account" "delete the messages with `rmail diagnose` in their subject";
        CleanupUser "cleanup.user" Failure "its user is gone" "`rmail user list` shows it (diagnose-…), `rmail user delete` removes it";
        CleanupLeftovers "cleanup.leftovers" Note "no earlier diagnosis has left anything" "";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_well_formed() {
        let ids: BTreeSet<&str> = CHECKS.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), CHECKS.len(), "each name stands once");
        for id in ids {
            let good = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_') || c.is_ascii_digit();
            assert!(id.contains('.') && id.chars().all(good), "{id}");
        }
    }

    #[test]
    fn whatever_can_go_wrong_has_advice() {
        for check in CHECKS {
            assert!(!check.title.is_empty());
            assert_eq!(
                check.advice.is_empty(),
                matches!(check.id, "imap.id" | "cleanup.leftovers"),
                "{}: only notes need none",
                check.id
            );
        }
    }

    #[test]
    fn a_name_leads_to_its_line() {
        assert_eq!(Id::SmtpAuthOnCleartext.check().id, "smtp.auth_on_cleartext");
        assert_eq!(Id::ImapIdleSlow.check().phase, Phase::Delivery);
    }
}
