use super::*;
use expect_test::{Expect, expect};

fn check(peers: &str, self_id: &str, expect: Expect) {
    let config = Config {
        controller_d_leger_peers: peers.into(),
        controller_d_leger_self_id: self_id.into(),
        ..Config::default()
    };
    let told = match config.peers() {
        Ok(peers) => {
            let mut told = format!("{} listens on {}", peers.self_id, config.listen_address(&peers));
            config.warnings(&peers).into_iter().for_each(|it| told += &format!("\nwarning: {it}"));
            told
        }
        Err(why) => format!("error: {why}"),
    };
    expect.assert_eq(&told);
}

#[test]
fn a_group_is_read_whatever_its_order() {
    check("n1-10.0.0.2:9878;n0-10.0.0.1:9878; n2-10.0.0.3:9878 ;", "n1", expect![[r#""#]]);
    check("n0-127.0.0.1:9878", "n0", expect![[r#""#]]);
}

#[test]
fn an_even_group_is_served_with_a_warning() {
    check("n0-127.0.0.1:9878;n1-127.0.0.1:9879", "n0", expect![[r#""#]]);
}

#[test]
fn a_group_that_cannot_work_is_refused_with_its_cure() {
    check("", "n0", expect![[r#""#]]);
    check("n0-127.0.0.1:9878", "", expect![[r#""#]]);
    check("n0-127.0.0.1:9878", "n7", expect![[r#""#]]);
    check("n0-127.0.0.1:9878;n0-127.0.0.1:9879", "n0", expect![[r#""#]]);
    check("n0-127.0.0.1:9878;n1-127.0.0.1:9878", "n0", expect![[r#""#]]);
    check("n0-127.0.0.1:port", "n0", expect![[r#""#]]);
    check("n0:127.0.0.1:9878", "n0", expect![[r#""#]]);
    check("n0-10.0.0.1:9878;n1-127.0.0.1:9878;n2-10.0.0.3:9878", "n0", expect![[r#""#]]);
    check("n0-0.0.0.0:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878", "n0", expect![[r#""#]]);
}

#[test]
fn the_other_engine_is_refused_by_name() {
    let config = Config { controller_type: "jRaft".into(), ..Config::default() };
    assert_eq!(config.peers(), Err(ConfigError::JRaft));
}

#[test]
fn bind_address_replaces_the_host_only() {
    let config = Config {
        controller_d_leger_peers: "n0-10.0.0.1:9878".into(),
        controller_d_leger_self_id: "n0".into(),
        bind_address: "0.0.0.0".into(),
        ..Config::default()
    };
    let peers = config.peers().expect("valid");
    assert_eq!(config.listen_address(&peers), "0.0.0.0:9878");
    assert_eq!(peers.own_address(), "10.0.0.1:9878");
}
