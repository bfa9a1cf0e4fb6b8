//! Room on the file system that a folder is on.

use std::path::Path;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    pub free: u64,
}

impl Space {
    /// 0 to 1; -1 when unknown, as Java says it.
    pub fn used_ratio(self) -> f64 {
        if self.total == 0 { -1.0 } else { 1.0 - self.free as f64 / self.total as f64 }
    }
}

/// Zeros when the file system does not say.
pub fn space(path: &Path) -> Space {
    match rustix::fs::statvfs(path) {
        Ok(it) => Space { total: it.f_blocks * it.f_frsize, free: it.f_bavail * it.f_frsize },
        Err(_) => Space::default(),
    }
}

/// `1.5 KiB`
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (bytes.max(1).ilog2() / 10).min(4);
    match power {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(3 << 40), "3.0 TiB");
    }

    #[test]
    fn a_real_folder_has_space() {
        let space = space(Path::new("/"));
        assert!(space.total > 0 && (0.0..=1.0).contains(&space.used_ratio()));
    }
}
