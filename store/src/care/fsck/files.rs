//! JSON files that people may edit: told with the place of the mistake.

use rmail_core::directory::alias::AliasFile;
use rmail_core::directory::{DomainFile, User};
use serde::de::DeserializeOwned;

use crate::disk::Disk;
use crate::file::io::read_file;

use super::super::places::DomainDir;
use super::repair::{Draft, Fix};
use super::{Code, Run};

/// What is wrong with JSON: `field: reason at line 1 column 2`.
pub(super) fn mistake<T: DeserializeOwned>(octets: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(octets);
    let parsed: Result<T, _> = serde_path_to_error::deserialize(&mut json);
    match parsed {
        Ok(_) => json.end().err().map(|error| error.to_string()),
        Err(error) => {
            let path = error.path().to_string();
            let inner = error.into_inner();
            Some(if path == "." || path == "?" {
                inner.to_string()
            } else {
                format!("{path}: {inner}")
            })
        }
    }
}

impl<D: Disk> Run<'_, D> {
    /// A domain's own files.
    pub(super) async fn domain(&mut self, domain: &DomainDir<D>) {
        let path = format!("domains/{}", domain.entry);
        let mut drafts = Vec::new();
        self.json::<DomainFile>(&domain.dir, "domain.json", &path, Code::DomainFile, &mut drafts)
            .await;
        self.json::<AliasFile>(&domain.dir, "aliases.json", &path, Code::AliasesFile, &mut drafts)
            .await;
        self.temporary(&domain.dir, &path, &mut drafts).await;
        self.settle(drafts).await;
    }

    /// A user's file. Whether there is one.
    pub(super) async fn user_file(&self, user: &D::Dir, path: &str, drafts: &mut Vec<Draft<D>>) -> bool {
        self.json::<User>(user, "user.json", path, Code::UserFile, drafts)
            .await
    }

    /// A file that a person may have edited. It is never changed here. Whether there is one.
    async fn json<T: DeserializeOwned>(
        &self,
        dir: &D::Dir,
        name: &str,
        path: &str,
        code: Code,
        drafts: &mut Vec<Draft<D>>,
    ) -> bool {
        let path = format!("{path}/{name}");
        let read = read_file(self.disk(), dir, name).await;
        let octets = match read {
            Ok(None) => return false,
            Ok(Some(octets)) => octets,
            Err(error) => {
                drafts.push(Draft::unreadable(&path, &error));
                return true;
            }
        };
        self.access_at(dir, name, &path, drafts).await;
        if let Some(mistake) = mistake::<T>(&octets) {
            drafts.push(Draft::new(code, path, mistake, Fix::None));
        }
        true
    }
}
