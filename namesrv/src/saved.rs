//! The two small files of a nameserver: key-value settings and, after a change over the network, its own settings.

use crate::kv::KvConfig;
use crate::rpc::Save;
use anyhow::Context;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// An absent file is a new nameserver. An unreadable one stops the start: going on would overwrite what an operator put
/// there.
pub(crate) fn load_kv(path: &Path) -> anyhow::Result<KvConfig> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(KvConfig::default()),
        Err(e) => {
            return Err(e)
                .with_context(|| format!("{}: cannot read; check kvConfigPath and its permissions", path.display()));
        }
    };
    if text.is_empty() {
        return Ok(KvConfig::default());
    }
    proto::json::from_slice(&text).map_err(|e| {
        anyhow::anyhow!("{}: not a kvConfig.json: {e}; restore it from {0}.bak or move it away", path.display())
    })
}

/// Temp file, fsync, rename, fsync of the folder; the previous text stays as `.bak`.
pub(crate) fn write(save: &Save) -> io::Result<()> {
    let folder = save.path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let with = |suffix: &str| {
        let mut name = save.path.clone().into_os_string();
        name.push(suffix);
        name
    };
    let mut file = File::create(with(".tmp"))?;
    file.write_all(&save.text)?;
    file.sync_all()?;
    match fs::copy(&save.path, with(".bak")) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(with(".tmp"), &save.path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_file_is_loaded_and_its_predecessor_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("namesrv/kvConfig.json");
        assert_eq!(load_kv(&path).unwrap(), KvConfig::default());
        for value in ["1", "2"] {
            let mut kv = KvConfig::default();
            kv.put("NS", "k", Some(value.into()));
            write(&Save { path: path.clone(), text: proto::json::to_vec(&kv) }).unwrap();
        }
        assert_eq!(load_kv(&path).unwrap().get("NS", "k"), Some("2"));
        assert_eq!(load_kv(&dir.path().join("namesrv/kvConfig.json.bak")).unwrap().get("NS", "k"), Some("1"));
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        fs::write(&path, "{\"configTable\":").unwrap();
        let error = load_kv(&path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("restore it"), "{error}");
    }
}
