//! What is refused at start, and in which words. Handshakes are tried over real sockets in tests/doors.rs.

use super::*;

fn refused(settings: Settings) -> String {
    Tls::new(&settings).expect_err("must be refused").to_string()
}

#[test]
fn without_a_certificate_permissive_is_plain_text_and_enforcing_is_an_error() {
    assert!(Tls::new(&Settings::default()).unwrap().server.unwrap().admits_plain());
    let why = refused(Settings { server_mode: Mode::Enforcing, ..Settings::default() });
    expect_test::expect![
        "`tls.server.certPath` is missing: `tls.server.mode=enforcing` needs a certificate and its key"
    ]
    .assert_eq(&why);
}

#[test]
fn what_would_check_nothing_is_refused() {
    let require = Settings { test_mode: true, need_client_auth: ClientAuth::Require, ..Settings::default() };
    assert!(refused(require.clone()).contains("would accept every certificate"));
    assert!(
        refused(Settings { auth_client: true, ..require.clone() }).contains("`tls.server.trustCertPath` is missing")
    );
    let unasked = Settings { need_client_auth: ClientAuth::None, auth_client: true, ..require };
    assert!(refused(unasked).contains("checks nothing"));
    let server = Settings { enable: true, auth_server: true, ..Settings::default() };
    assert!(refused(server).contains("`tls.client.trustCertPath` is missing"));
}

#[test]
fn a_file_that_is_no_certificate_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cert.pem");
    std::fs::write(&path, "no certificate\n").unwrap();
    let path = path.display().to_string();
    let it = Settings { server_cert: path.clone(), server_key: path.clone(), ..Settings::default() };
    assert_eq!(refused(it.clone()), format!("`tls.server.certPath={path}`: holds no PEM certificate"));
    assert!(refused(Settings { server_key: String::new(), ..it.clone() }).contains("`tls.server.keyPath` is missing"));
    assert!(refused(Settings { server_key_password: "secret".into(), ..it }).contains("decrypt it"));
}

#[test]
fn the_named_file_sets_everything_but_mode_and_enable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.properties");
    std::fs::write(&path, "tls.test.mode.enable=true\ntls.server.mode=disabled\n").unwrap();
    let it = Settings { config_file: path.display().to_string(), ..Settings::default() };
    let read = it.with_file().unwrap();
    assert!(read.test_mode);
    assert_eq!(read.server_mode, Mode::Permissive);
    assert!(refused(Settings { client_trust: "x".into(), ..it }).contains("move them into that file"));
}
