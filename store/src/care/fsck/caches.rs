//! The caches of a mailbox. One that is damaged costs time only, for it is not used; one that is wrong and looks right
//! would tell clients what is not so. Both are removed by a repair. Each cache has its function here.

use std::io;

use rmail_core::mailbox::Row;

use crate::disk::Disk;
use crate::file::io::{found, read_file};
use crate::file::parsed;
use crate::file::parsed::check::{Look, Records};
use crate::file::snapshot;
use crate::file::status::Status;

use super::super::image::{Image, shard_name};
use super::mailbox::Subject;
use super::repair::{Draft, Fix};
use super::{Code, Run};

impl<D: Disk> Run<'_, D> {
    /// The file `snapshot`: what it has of a shard that has not changed since must be the names that lie there.
    pub(super) async fn snapshot(
        &self,
        subject: &Subject<'_, D>,
        image: &Image,
        uid_next: u32,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let (disk, dir) = (self.disk(), &subject.level.dir);
        // One that is larger than what is read of small files is not judged.
        let Ok(Some(octets)) = read_file(disk, dir, snapshot::NAME).await else {
            return Ok(());
        };
        let inode = disk.stat_dir(dir).await?.inode;
        let names = |number: u32| {
            let shard = image.shards.get(&shard_name(number))?;
            let mut rows: Vec<(Row, [u64; 4])> = Vec::with_capacity(shard.rows.len());
            for row in &shard.rows {
                let here = self.rules.shard(row.uid) == number && row.uid.0 < uid_next;
                let twice = rows.last().is_some_and(|(last, _)| last.uid == row.uid);
                if twice {
                    // Which one counts is told elsewhere.
                    return None;
                }
                if here {
                    rows.push((*row, image.words.bits(row.keywords)));
                }
            }
            Some((shard.stamp?, rows))
        };
        if let Some(detail) = snapshot::flaw(&octets, inode, names) {
            let path = format!("{}/{}", subject.path, snapshot::NAME);
            let fix = Fix::Unlink {
                dir: dir.clone(),
                name: snapshot::NAME.to_owned(),
            };
            drafts.push(Draft::new(Code::CacheBroken, path, detail, fix));
        }
        Ok(())
    }

    /// The file of a shard in `parsed`. What it has of each message is compared when the message is read.
    pub(super) async fn records(
        &self,
        subject: &Subject<'_, D>,
        status: &Status,
        shard: u32,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<Option<Records<D>>> {
        let disk = self.disk();
        let Some(dir) = found(disk.open_dir(&subject.level.dir, parsed::DIR).await)? else {
            return Ok(None);
        };
        let name = shard_name(shard);
        let of = (subject.account, status.id, status.uid_validity);
        let slots = self.rules.shard_size.max(1);
        match parsed::check::open(disk, &dir, &name, of, (shard, slots)).await? {
            Look::None => Ok(None),
            Look::Ours(records) => Ok(Some(records)),
            Look::Damaged => {
                let path = format!("{}/{}/{name}", subject.path, parsed::DIR);
                let detail = "its head cannot be read".to_owned();
                let fix = Fix::Unlink { dir, name };
                drafts.push(Draft::new(Code::CacheBroken, path, detail, fix));
                Ok(None)
            }
        }
    }
}
