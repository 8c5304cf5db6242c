//! What is kept beside the messages: who may do what with a mailbox, and annotations.

use std::io;

use crate::disk::Disk;
use crate::file::acl::{self, ACL};
use crate::file::io::read_file;
use crate::file::metadata::{self, METADATA};

use super::mailbox::Subject;
use super::repair::{Draft, Fix};
use super::{Code, Run};

impl<D: Disk> Run<'_, D> {
    /// `acl.json` and `metadata.json` of a mailbox.
    pub(super) async fn beside(
        &self,
        subject: &Subject<'_, D>,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let dir = &subject.level.dir;
        self.annotations(dir, &subject.path, subject.user, drafts).await?;
        let Some(octets) = read_file(self.disk(), dir, ACL).await? else {
            return Ok(());
        };
        let path = format!("{}/{ACL}", subject.path);
        self.access_at(dir, ACL, &path, drafts).await;
        let list = match acl::decode(&octets) {
            Ok(list) => list,
            Err(mistake) => {
                let fix = aside(dir, ACL, subject.user);
                drafts.push(Draft::new(Code::AclFile, path, mistake, fix));
                return Ok(());
            }
        };
        for (identifier, _) in list.entries() {
            let noted = self.store.is_shared(subject.account, &identifier.who).await;
            if let Ok(false) = noted {
                let who = identifier.who.clone();
                let detail = format!("shared/ does not have it for {}", who.as_str());
                drafts.push(Draft::new(
                    Code::SharedNote,
                    path.clone(),
                    detail,
                    Fix::Shared(who),
                ));
            }
        }
        Ok(())
    }

    /// `metadata.json` of a mailbox or an account.
    pub(super) async fn annotations(
        &self,
        dir: &D::Dir,
        path: &str,
        user: &D::Dir,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let Some(octets) = read_file(self.disk(), dir, METADATA).await? else {
            return Ok(());
        };
        let path = format!("{path}/{METADATA}");
        self.access_at(dir, METADATA, &path, drafts).await;
        if let Err(mistake) = metadata::decode(&octets) {
            let fix = aside(dir, METADATA, user);
            drafts.push(Draft::new(Code::MetadataFile, path, mistake, fix));
        }
        Ok(())
    }
}

fn aside<D: Disk>(dir: &D::Dir, name: &'static str, user: &D::Dir) -> Fix<D> {
    Fix::File {
        dir: dir.clone(),
        name,
        user: user.clone(),
    }
}
