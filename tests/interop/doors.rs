//! Java's admin tool at a controller that wants TLS and a signature.

use baton_tests::cluster::{Node, free_port};
use baton_tests::java::Java;
use baton_tests::one_at_a_time;

const SECRET: &str = "12345678";

#[test]
fn javas_mqadmin_comes_in_through_tls_with_the_secret_and_not_without() {
    let _turn = one_at_a_time();
    let Some(mut java) = Java::find() else { return };
    let folder = tempfile::tempdir().expect("temporary folder");
    let address = format!("127.0.0.1:{}", free_port());
    let config = format!(
        "controllerDLegerPeers=n0-{address}\ncontrollerDLegerSelfId=n0\ncontrollerStorePath={}\n\
         controllerAclEnable=true\ncontrollerAccessKey=operators\ncontrollerSecretKey={SECRET}\n\
         tls.server.mode=enforcing\ntls.test.mode.enable=true\ntls.enable=true\n",
        folder.path().join("data").display()
    );
    let mut controller = Node::new(folder.path(), "controller-n0", "mqcontroller", &address, &config);
    controller.start();
    let change = ["updateControllerConfig", "-a", &address, "-k", "scanNotActiveBrokerInterval", "-v", "4000"];
    let plain = java.mqadmin_says(&address, &change);
    assert!(!plain.contains("success"), "plain text is not let in: {plain}");
    java.set("tls.enable=true");
    let unsigned = java.mqadmin_says(&address, &change);
    assert!(unsigned.contains("CODE: 16") && unsigned.contains("it carries no AccessKey"), "{unsigned}");
    java.sign("operators", "another");
    let wrong = java.mqadmin_says(&address, &change);
    assert!(wrong.contains("CODE: 16") && wrong.contains("does not fit the secret"), "{wrong}");
    java.sign("operators", SECRET);
    let done = java.mqadmin_says(&address, &change);
    assert!(done.contains(&format!("update controller config success![{address}]")), "{done}");
    let shown = java.mqadmin_says(&address, &["getControllerConfig", "-a", &address]);
    assert!(shown.contains("******") && !shown.contains(SECRET), "{shown}");
    assert!(controller.stop().success());
}
