//! Who this replica is: `brokerIdentity`, in Java's format, and the steps by which it gets its id from the controller.
//!
//! ```text
//! ask 1012 ─▶ next id ─▶ write temp file ─▶ apply 1013 ─▶ granted ─▶ write identity file, remove temp file
//!                             ▲                   │ 2014: taken ─▶ remove temp file, ask again
//!                             └── crash or time-out: the same 1013 again, with the same check code
//! ```
//! Only a definite "taken" discards the temp file: after a lost answer the same check code finds the id granted (Java
//! burns an id there).

use crate::HaError;
use crate::durable_file::{self, Loaded};
use proto::BrokerId;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Neither file: ask for the next id.
    Unknown,
    /// The temp file: apply for this id with this check code.
    Applying {
        id: BrokerId,
        check_code: String,
    },
    Known(BrokerId),
}

pub(crate) struct IdentityFile {
    path: PathBuf,
    temp: PathBuf,
    cluster: String,
    broker_set: String,
}

impl IdentityFile {
    pub(crate) fn new(path: PathBuf, cluster: &str, broker_set: &str) -> IdentityFile {
        let mut temp = path.clone().into_os_string();
        temp.push("-temp");
        IdentityFile { path, temp: temp.into(), cluster: cluster.to_owned(), broker_set: broker_set.to_owned() }
    }

    pub(crate) fn load(&self) -> Result<Identity, HaError> {
        let advice = "restore the file, or move the store directory away to join as a new replica";
        if let Some(text) = durable_file::read_text(&self.path).or_stop(&self.path, advice)? {
            return self.parse_identity(&text).map(Identity::Known);
        }
        match durable_file::read_text(&self.temp) {
            Loaded::Empty => Ok(Identity::Unknown),
            Loaded::Unreadable { why } => Err(durable_file::failed(&self.temp, &why)),
            Loaded::Present(text) => {
                let (id, check_code) = self.parse(&self.temp, &text, 4)?;
                Ok(Identity::Applying { id, check_code })
            }
        }
    }

    pub(crate) fn apply_for(&self, id: BrokerId, check_code: &str) -> Result<Identity, HaError> {
        let text = format!("{}#{}#{id}#{check_code}", self.cluster, self.broker_set);
        durable_file::replace(&self.temp, text.as_bytes())?;
        Ok(Identity::Applying { id, check_code: check_code.to_owned() })
    }

    pub(crate) fn taken(&self) -> Result<Identity, HaError> {
        durable_file::remove(&self.temp)?;
        Ok(Identity::Unknown)
    }

    pub(crate) fn granted(&self, id: BrokerId) -> Result<Identity, HaError> {
        durable_file::replace(&self.path, format!("{}#{}#{id}", self.cluster, self.broker_set).as_bytes())?;
        durable_file::remove(&self.temp)?;
        Ok(Identity::Known(id))
    }

    /// What stands in the identity file.
    pub(crate) fn parse_identity(&self, text: &str) -> Result<BrokerId, HaError> {
        self.parse(&self.path, text, 3).map(|fields| fields.0)
    }

    /// `cluster#set#id` and, in the temp file, `#check code`. Names that differ from the configuration mean another
    /// broker's directory.
    fn parse(&self, path: &Path, text: &str, parts: usize) -> Result<(BrokerId, String), HaError> {
        let fields: Vec<&str> = text.trim_end_matches(['\r', '\n']).splitn(parts, '#').collect();
        let id = fields.get(2).and_then(|it| it.parse().ok()).filter(|id| *id >= 1);
        let (Some(id), true) = (id, fields.len() == parts) else {
            return Err(HaError::Identity(format!(
                "{}: `{}` is no identity (want cluster#brokerName#id with an id from 1); restore the file, or move \
                 the store directory away \
                 to join as a new replica",
                path.display(),
                text.trim_end()
            )));
        };
        if fields[0] != self.cluster || fields[1] != self.broker_set {
            return Err(HaError::Identity(format!(
                "{} belongs to replica {id} of {}/{}, the configuration says brokerClusterName={}, brokerName={}; \
                 point storePathRootDir at \
                 this broker's own directory or correct the names",
                path.display(),
                fields[0],
                fields[1],
                self.cluster,
                self.broker_set
            )));
        }
        Ok((id, fields.get(3).copied().unwrap_or_default().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, IdentityFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = IdentityFile::new(folder.path().join("brokerIdentity"), "c", "broker-a");
        (folder, file)
    }

    #[test]
    fn each_step_is_found_again_after_a_crash() {
        let (folder, file) = files();
        assert_eq!(file.load().unwrap(), Identity::Unknown);
        file.apply_for(2, "10.0.0.1:10911;17").unwrap();
        assert_eq!(
            std::fs::read_to_string(folder.path().join("brokerIdentity-temp")).unwrap(),
            "c#broker-a#2#10.0.0.1:10911;17"
        );
        assert_eq!(file.load().unwrap(), Identity::Applying { id: 2, check_code: "10.0.0.1:10911;17".to_owned() });
        file.taken().unwrap();
        assert_eq!(file.load().unwrap(), Identity::Unknown);
        file.apply_for(3, "x;1").unwrap();
        file.granted(3).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("brokerIdentity")).unwrap(), "c#broker-a#3");
        assert!(!folder.path().join("brokerIdentity-temp").exists());
        assert_eq!(file.load().unwrap(), Identity::Known(3));
    }

    #[test]
    fn a_crash_between_the_identity_file_and_the_removal_of_the_temp_file_keeps_the_id() {
        let (folder, file) = files();
        file.apply_for(3, "x;1").unwrap();
        std::fs::write(folder.path().join("brokerIdentity"), "c#broker-a#3").unwrap();
        assert_eq!(file.load().unwrap(), Identity::Known(3));
    }

    #[test]
    fn the_directory_of_another_broker_is_refused_by_name() {
        let (folder, file) = files();
        std::fs::write(folder.path().join("brokerIdentity"), "c#broker-b#1\n").unwrap();
        let err = file.load().unwrap_err().to_string();
        assert!(err.contains("replica 1 of c/broker-b") && err.contains("brokerName=broker-a"), "{err}");
        std::fs::write(folder.path().join("brokerIdentity"), "c#broker-a#0").unwrap();
        assert!(file.load().unwrap_err().to_string().contains("is no identity"));
    }
}
