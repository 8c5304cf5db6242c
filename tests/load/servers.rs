//! The servers of a comparison, as the command line names them.

use std::str::FromStr;

use crate::imap::Login;

/// One server: a name, its ports, and the names of its processes.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) imap: u16,
    pub(crate) imaps: Option<u16>,
    pub(crate) smtp: Option<u16>,
    pub(crate) http: Option<u16>,
    /// Names (`comm`) of its processes, for their time.
    pub(crate) processes: Vec<String>,
}

impl FromStr for Server {
    type Err = String;

    /// `NAME=imap:PORT,smtp:PORT,…,process:COMM`.
    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "NAME=imap:PORT[,imaps:PORT][,smtp:PORT][,http:PORT][,process:COMM]…";
        let (name, rest) = text.split_once('=').ok_or_else(|| format!("expected {FORM}"))?;
        let (mut imap, mut imaps, mut smtp, mut http, mut processes) = (None, None, None, None, Vec::new());
        for part in rest.split(',') {
            let (key, value) = part
                .split_once(':')
                .ok_or_else(|| format!("“{part}”: expected {FORM}"))?;
            let port = || value.parse::<u16>().map_err(|_| format!("“{part}”: no port"));
            match key {
                "imap" => imap = Some(port()?),
                "imaps" => imaps = Some(port()?),
                "smtp" => smtp = Some(port()?),
                "http" => http = Some(port()?),
                "process" => processes.push(value.to_owned()),
                _ => return Err(format!("“{key}”: expected {FORM}")),
            }
        }
        Ok(Self {
            name: name.to_owned(),
            imap: imap.ok_or_else(|| format!("no IMAP port; expected {FORM}"))?,
            imaps,
            smtp,
            http,
            processes,
        })
    }
}

impl Server {
    /// How a user logs in to it.
    pub(crate) fn login(&self, user: &str, password_env: &str) -> Login {
        Login {
            port: self.imap,
            user: user.to_owned(),
            password_env: password_env.to_owned(),
            password: None,
            mailbox: "INBOX".to_owned(),
        }
    }
}
