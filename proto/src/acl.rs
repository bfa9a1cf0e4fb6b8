//! The signature of a request (`AclClientRPCHook`).
//!
//! HMAC-SHA1, in Base64, of the values of all extension fields in the order of their keys, without the signature
//! itself, followed by the body. Code, opaque and time are not signed: it proves who asks, not that the request is
//! fresh.

use crate::Command;
use crate::command::ExtFields;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

pub const ACCESS_KEY: &str = "AccessKey";
pub const SIGNATURE: &str = "Signature";

/// Adds access key and signature. Whatever else is to be in the extension fields must be there already.
pub fn sign(request: &mut Command, access_key: &str, secret: &str) {
    request.ext.insert(ACCESS_KEY.to_owned(), access_key.to_owned());
    let signature = signature(&request.ext, &request.body, secret);
    request.ext.insert(SIGNATURE.to_owned(), signature);
}

/// Whether the signature is there and fits; takes as long for a wrong one as for the right one.
pub fn verify(request: &Command, secret: &str) -> bool {
    let given = request.ext.get(SIGNATURE).and_then(|it| STANDARD.decode(it).ok());
    given.is_some_and(|it| mac(&request.ext, &request.body, secret).verify_slice(&it).is_ok())
}

/// Keys are compared as bytes, which for RocketMQ's field names (ASCII) is Java's order.
pub fn signature(ext: &ExtFields, body: &[u8], secret: &str) -> String {
    STANDARD.encode(mac(ext, body, secret).finalize().into_bytes())
}

fn mac(ext: &ExtFields, body: &[u8], secret: &str) -> Hmac<Sha1> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    for (_, value) in ext.iter().filter(|(key, _)| *key != SIGNATURE) {
        mac.update(value.as_bytes());
    }
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_as_java_signs_it() {
        let mut request = Command::request(105)
            .with_ext("topic", "T")
            .with_ext("acceptStandardJsonOnly", true)
            .with_ext(SIGNATURE, "of an earlier attempt")
            .with_body("body");
        sign(&mut request, "ak", "12345678");
        assert_eq!(request.ext[SIGNATURE], "SQR3Dv19a6EOORYlXMesozmhUDw=");
        assert!(verify(&request, "12345678"));
        assert!(!verify(&request, "12345679"));
    }

    #[test]
    fn what_is_no_signature_fits_nothing() {
        for given in ["", "no base64!", "AAAA", "SQR3Dv19a6EOORYlXMesozmhUDw"] {
            assert!(!verify(&Command::request(105).with_ext(SIGNATURE, given), "12345678"), "{given}");
        }
        assert!(!verify(&Command::request(105), ""));
    }
}
