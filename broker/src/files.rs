//! RocketMQ's JSON files under `<root>/config`: written whole, atomically, with the previous content beside them as
//! `.bak`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path}: cannot {what}: {why}")]
    Io { path: String, what: &'static str, why: String },
    #[error(
        "{path}: {why}, and there is no readable backup beside it; restore the file from a replica, or \
         remove it to start without what it held"
    )]
    Unreadable { path: String, why: String },
}

/// One file. Never written and lost need opposite reactions, so [`JsonFile::load`] tells them apart.
#[derive(Clone, Debug)]
pub struct JsonFile {
    path: PathBuf,
}

impl JsonFile {
    pub fn new(folder: &Path, name: &str) -> JsonFile {
        JsonFile { path: folder.join(name) }
    }

    /// `None`: never written. A damaged file falls back to its `.bak`; a damaged pair is an error, never an empty
    /// table.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, FileError> {
        match (read(&self.path), read(&self.backup())) {
            (Read::Present(it), _) => Ok(Some(it)),
            (Read::Missing, Read::Missing) => Ok(None),
            (damaged, Read::Present(it)) => {
                let why = if let Read::Damaged(why) = damaged { why } else { "missing".to_owned() };
                tracing::warn!(path = %self.path.display(), why, "using the backup of a configuration file");
                Ok(Some(it))
            }
            (Read::Damaged(why), _) | (Read::Missing, Read::Damaged(why)) => {
                Err(FileError::Unreadable { path: self.path.display().to_string(), why })
            }
        }
    }

    /// Durable when it returns.
    pub fn save(&self, value: &impl Serialize) -> Result<(), FileError> {
        let bytes = proto::json::to_vec(value);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|it| self.failed("create its folder", it))?;
        let next = self.path.with_extension("json.tmp");
        let mut file = File::create(&next).map_err(|it| self.failed("create", it))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(|it| self.failed("write", it))?;
        match fs::rename(&self.path, self.backup()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed("keep as .bak", error)),
            _ => {}
        }
        fs::rename(&next, &self.path).map_err(|it| self.failed("replace", it))?;
        File::open(folder).and_then(|it| it.sync_all()).map_err(|it| self.failed("sync the folder of", it))
    }

    fn backup(&self) -> PathBuf {
        self.path.with_extension("json.bak")
    }

    fn failed(&self, what: &'static str, error: std::io::Error) -> FileError {
        FileError::Io { path: self.path.display().to_string(), what, why: error.to_string() }
    }
}

enum Read<T> {
    Missing,
    Present(T),
    Damaged(String),
}

fn read<T: DeserializeOwned>(path: &Path) -> Read<T> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Read::Missing,
        Err(error) => Read::Damaged(error.to_string()),
        Ok(bytes) if bytes.is_empty() => Read::Damaged("the file is empty".to_owned()),
        Ok(bytes) => match proto::json::from_slice(&bytes) {
            Ok(value) => Read::Present(value),
            Err(error) => Read::Damaged(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Table = BTreeMap<String, i64>;

    fn table(value: i64) -> Table {
        BTreeMap::from([("a".to_owned(), value)])
    }

    #[test]
    fn a_file_that_was_never_written_is_empty_not_broken() {
        let folder = tempfile::tempdir().expect("temp dir");
        assert!(JsonFile::new(folder.path(), "t.json").load::<Table>().expect("readable").is_none());
    }

    #[test]
    fn a_damaged_file_falls_back_to_what_was_before() {
        let folder = tempfile::tempdir().expect("temp dir");
        let file = JsonFile::new(folder.path(), "t.json");
        file.save(&table(1)).expect("saved");
        file.save(&table(2)).expect("saved");
        assert_eq!(file.load::<Table>().expect("readable"), Some(table(2)));
        fs::write(folder.path().join("t.json"), b"").expect("damage");
        assert_eq!(file.load::<Table>().expect("readable"), Some(table(1)));
        fs::remove_file(folder.path().join("t.json")).expect("crash between two renames");
        assert_eq!(file.load::<Table>().expect("readable"), Some(table(1)));
        fs::write(folder.path().join("t.json.bak"), b"{").expect("damage");
        let error = file.load::<Table>().expect_err("nothing readable is left");
        assert!(error.to_string().contains("t.json"), "{error}");
    }
}
