//! Who may still connect: a number for all, and one for each address, so that nobody takes all of it.

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Of this many file descriptors one is kept for files, databases and our own connections.
const KEEP_ONE_IN: usize = 8;

pub(super) struct Places {
    taken: Mutex<Taken>,
    all: usize,
    per_address: usize,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// This many connections are open.
    All(usize),
    /// This many from one address.
    Address(usize),
}

impl Places {
    pub(super) fn new(all: usize, per_address: usize) -> Arc<Places> {
        Arc::new(Places { taken: Mutex::default(), all, per_address })
    }

    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let mut taken = self.taken.lock();
        if taken.all >= self.all {
            return Err(Full::All(self.all));
        }
        let of_address = taken.by_address.entry(address).or_default();
        if *of_address >= self.per_address {
            return Err(Full::Address(self.per_address));
        }
        *of_address += 1;
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        let of_address = taken.by_address.get_mut(&self.address).expect("it was counted when it was taken");
        *of_address -= 1;
        if *of_address == 0 {
            taken.by_address.remove(&self.address);
        }
    }
}

/// How many connections the operating system lets this process have, after asking for as many as it may.
pub(super) fn allowed_by_system() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    let files = limit.current.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
    files - files / KEEP_ONE_IN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_take_the_places_of_others() {
        let (a, b, c) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), [10, 0, 0, 3].into());
        let places = Places::new(3, 2);
        let first = places.take(a).ok().unwrap();
        let _second = places.take(a).ok().unwrap();
        assert_eq!(places.take(a).err(), Some(Full::Address(2)));
        let _third = places.take(b).ok().unwrap();
        assert_eq!(places.take(c).err(), Some(Full::All(3)));
        drop(first);
        let _fourth = places.take(c).ok().unwrap();
        assert_eq!(places.taken.lock().by_address.len(), 3);
        assert!(allowed_by_system() > 0);
    }
}
