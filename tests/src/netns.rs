//! A network of its own for a test: one host (a network namespace) per process, all on one bridge, the test itself
//! among them. What one host sends to another can be made to vanish, in one direction or in both, without anybody being
//! told: that is what a broken switch does, and neither what a killed process nor what a firewall that refuses does.
//!
//! ```text
//! test ── 198.18.x.1 ─┐
//! host ── 198.18.x.2 ─┼─ bridge, in a namespace of its own
//! host ── 198.18.x.3 ─┘
//! ```
//!
//! Every host knows the others' hardware addresses for good; a direction is cut by giving the sender a wrong one for
//! the receiver. So `ip` alone is needed, whatever filters the kernel has. 198.18.0.0/15 is set aside for such tests.
//! All of it is removed on drop; what a killed test left behind, by the next one.

use crate::loudly;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The test's own process, in the namespace that it was started in.
pub const CLIENT: &str = "client";
/// Nobody's hardware address.
const NOWHERE: &str = "02:ba:70:ff:ff:ff";
const PREFIX: &str = "baton-";

#[derive(Debug)]
pub struct Network {
    /// By name, [`CLIENT`] first.
    hosts: BTreeMap<String, Host>,
    /// `baton-<pid>-<count>`: what all names of this network begin with.
    name: String,
    /// Hosts whose cable is bad.
    impaired: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Host {
    /// Last octet of its address, and of its hardware address.
    number: u8,
    ip: String,
    /// `None`: the test's own.
    namespace: Option<String>,
    /// Its end of the cable to the bridge.
    device: String,
}

impl Network {
    /// A network of these hosts, all connected. `None`, said loudly, where namespaces are not permitted.
    pub fn of(names: &[&str]) -> Option<Network> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let process = std::process::id();
        let count = COUNT.fetch_add(1, Relaxed);
        let subnet = free_subnet()?;
        let host = |(i, name): (usize, &&str)| {
            let client = *name == CLIENT;
            // A device's name has at most 15 characters.
            let device = if client { format!("bt{process}.{count}") } else { "eth0".to_owned() };
            let namespace = (!client).then(|| format!("{PREFIX}{process}-{count}-{name}"));
            let host = Host { number: i as u8 + 1, ip: format!("198.18.{subnet}.{}", i + 1), namespace, device };
            ((*name).to_owned(), host)
        };
        let hosts = [CLIENT].iter().chain(names).enumerate().map(host).collect();
        let network = Network { hosts, name: format!("{PREFIX}{process}-{count}"), impaired: Mutex::default() };
        match network.build() {
            Ok(()) => Some(network),
            Err(why) => {
                loudly(&format!("SKIPPED: network namespaces cannot be used here, so this case did not run: {why}"));
                None
            }
        }
    }

    fn build(&self) -> Result<(), String> {
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        batch(Some(&hub), "link add bridge type bridge forward_delay 0\nlink set bridge up\n")?;
        for host in self.hosts.values() {
            if let Some(namespace) = &host.namespace {
                ip(&["netns", "add", namespace])?;
            }
            let (device, port) = (&host.device, format!("port{}", host.number));
            let cable = format!(
                "link add {device} address {} type veth peer name {port} netns {hub}\n\
                 link set lo up\nlink set {device} up\naddr add {}/24 dev {device}\n",
                host.hardware_address(),
                host.ip
            );
            batch(host.namespace.as_deref(), &cable)?;
            batch(Some(&hub), &format!("link set {port} master bridge\nlink set {port} up\n"))?;
        }
        self.hosts.values().try_for_each(|it| self.tell(it, self.hosts.values(), Host::hardware_address))
    }

    pub fn ip(&self, host: &str) -> &str {
        &self.host(host).ip
    }

    /// `program` as a process of that host.
    pub fn command(&self, host: &str, program: &Path) -> Command {
        let namespace = self.host(host).namespace.as_ref().expect("the client's processes need no other namespace");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }

    /// From now on nothing that `from` sends reaches any of `to`; the other direction stays as it is.
    #[track_caller]
    pub fn silence(&self, from: &str, to: &[&str]) {
        self.set(from, to, |_| NOWHERE.to_owned());
    }

    /// Nothing passes between the two groups any more, in either direction.
    #[track_caller]
    pub fn part(&self, one: &[&str], other: &[&str]) {
        one.iter().for_each(|it| self.silence(it, other));
        other.iter().for_each(|it| self.silence(it, one));
    }

    /// These hosts hear each other and nobody else; the test still reaches everyone.
    #[track_caller]
    pub fn isolate(&self, apart: &[&str]) {
        let rest: Vec<_> = self.names().filter(|it| !apart.contains(it)).collect();
        self.part(apart, &rest);
    }

    /// What this host sends comes late and in part: delayed and lost at random where the kernel can do that (netem),
    /// else pressed through a narrow pipe whose queue overflows (tbf). False where it can do neither.
    pub fn impair(&self, host: &str) -> bool {
        let of = self.host(host);
        let ways = ["netem delay 40ms 30ms loss 2%", "tbf rate 1mbit burst 16kb latency 200ms"];
        let impaired = ways.iter().any(|it| self.discipline(of, &format!("replace dev {} root {it}", of.device)));
        if impaired {
            self.impaired.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned());
        }
        impaired
    }

    /// `tc qdisc` on a host's end of its cable.
    fn discipline(&self, host: &Host, arguments: &str) -> bool {
        let mut command = Command::new("tc");
        command.args(host.namespace.iter().flat_map(|it| ["-n", it])).arg("qdisc").args(arguments.split(' '));
        command.output().is_ok_and(|it| it.status.success())
    }

    /// Everything passes again.
    #[track_caller]
    pub fn heal(&self) {
        for name in std::mem::take(&mut *self.impaired.lock().unwrap_or_else(PoisonError::into_inner)) {
            let host = self.host(&name);
            assert!(self.discipline(host, &format!("del dev {} root", host.device)), "{name}'s cable stays bad");
        }
        for host in self.hosts.values() {
            self.tell(host, self.hosts.values(), Host::hardware_address).expect("the network is ours");
        }
    }

    /// All hosts but the test.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str).filter(|it| *it != CLIENT)
    }

    #[track_caller]
    fn set(&self, from: &str, to: &[&str], address: impl Fn(&Host) -> String) {
        self.tell(self.host(from), to.iter().map(|it| self.host(it)), address).expect("the network is ours");
    }

    /// Where `host` finds others from now on.
    fn tell<'a>(
        &self,
        host: &Host,
        others: impl Iterator<Item = &'a Host>,
        address: impl Fn(&'a Host) -> String,
    ) -> Result<(), String> {
        let mut lines = String::new();
        for other in others.filter(|it| it.number != host.number) {
            let _ = writeln!(
                lines,
                "neigh replace {} lladdr {} nud permanent dev {}",
                other.ip,
                address(other),
                host.device
            );
        }
        batch(host.namespace.as_deref(), &lines)
    }

    #[track_caller]
    fn host(&self, name: &str) -> &Host {
        self.hosts.get(name).unwrap_or_else(|| panic!("no host {name} in {:?}", self.hosts.keys()))
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }
}

impl Host {
    fn hardware_address(&self) -> String {
        format!("02:ba:70:00:00:{:02x}", self.number)
    }
}

impl Drop for Network {
    /// The cables go with the namespaces at their ends. What could not be made is not there to be removed.
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.host(CLIENT).device]);
        for namespace in self.hosts.values().filter_map(|it| it.namespace.as_ref()).chain([&self.hub()]) {
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

/// Namespaces of test processes that were killed.
fn remove_leftovers() {
    let Ok(listed) = ip(&["netns", "list"]) else { return };
    for name in listed.lines().filter_map(|it| it.split_whitespace().next()) {
        let process =
            name.strip_prefix(PREFIX).and_then(|it| it.split('-').next()).and_then(|it| it.parse::<u32>().ok());
        if process.is_some_and(|it| !Path::new("/proc").join(it.to_string()).exists()) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// `x` of a network 198.18.x.0/24 that the test's host has no route to.
fn free_subnet() -> Option<u8> {
    let routes = match ip(&["-4", "route", "show", "table", "all"]) {
        Ok(routes) => routes,
        Err(why) => {
            loudly(&format!("SKIPPED: no networks can be made here, so this case did not run: {why}"));
            return None;
        }
    };
    let start: u8 = rand::random();
    (0..=255).map(|it: u8| start.wrapping_add(it)).find(|it| !routes.contains(&format!("198.18.{it}.")))
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let run = Command::new("ip").args(arguments).output();
    succeeded(&arguments.join(" "), run)
}

/// Many commands of `ip` in one process, in that namespace or in the test's own.
fn batch(namespace: Option<&str>, lines: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(namespace.iter().flat_map(|it| ["-n", it])).args(["-batch", "-"]);
    let run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().and_then(|mut it| {
        it.stdin.take().expect("a pipe").write_all(lines.as_bytes())?;
        it.wait_with_output()
    });
    succeeded(lines, run).map(|_| ())
}

fn succeeded(what: &str, run: std::io::Result<Output>) -> Result<String, String> {
    let run = run.map_err(|error| format!("`ip` does not run: {error}"))?;
    match run.status.success() {
        true => Ok(String::from_utf8_lossy(&run.stdout).into_owned()),
        false => Err(format!("ip {what}: {}", String::from_utf8_lossy(&run.stderr).trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::fs::File;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    /// A socket stays in the namespace that its thread was in.
    fn socket(network: &Network, host: &str) -> UdpSocket {
        let address = (network.ip(host).to_owned(), 7);
        let namespace = network.host(host).namespace.clone();
        let opened = std::thread::spawn(move || {
            if let Some(namespace) = namespace {
                let file = File::open(Path::new("/run/netns").join(namespace)).expect("a namespace is a file");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
            }
            UdpSocket::bind(address).expect("the host has this address")
        });
        opened.join().expect("a socket")
    }

    #[test]
    fn directions_are_cut_one_by_one_and_nothing_is_left() {
        let Some(network) = Network::of(&["a", "b"]) else { return };
        let sockets = [CLIENT, "a", "b"].map(|host| (host, socket(&network, host)));
        let find = |name: &str| &sockets.iter().find(|it| it.0 == name).expect("a host").1;
        let passes = |from: &str, to: &str| {
            find(from).send_to(&[1], (network.ip(to), 7)).expect("the sender is told nothing");
            // On one machine a datagram has arrived when it is sent; what has not after this long never will.
            find(to).set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
            find(to).recv_from(&mut [0; 1]).is_ok()
        };
        assert!(passes("a", "b") && passes("b", "a") && passes("a", CLIENT) && passes(CLIENT, "b"));
        network.silence("a", &["b"]);
        assert!(!passes("a", "b") && passes("b", "a") && passes("a", CLIENT), "one direction of one pair");
        network.heal();
        network.isolate(&["a"]);
        assert!(!passes("a", "b") && !passes("b", "a") && passes("a", CLIENT) && passes(CLIENT, "a"));
        network.heal();
        assert!(passes("a", "b") && passes("b", "a"));
        let name = network.name.clone();
        drop(network);
        assert!(!ip(&["netns", "list"]).unwrap().contains(&name));
    }
}
