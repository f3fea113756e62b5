//! Examples of the standards whose signed bytes are no claims.

use crate::algorithm::Public;
use crate::*;
use base64::Engine as _;

/// Their payloads are no claims, so that they are no tokens; their signatures are right all the same.
#[test]
fn the_examples_of_the_other_curves_are_verified() {
    // RFC 8037, appendix A.
    let x = URL_BASE64.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let x: [u8; 32] = x.unwrap().try_into().unwrap();
    let key = Public::Ed25519(ed25519_dalek::VerifyingKey::from_bytes(&x).unwrap());
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(key.verifies(
        Algorithm::EdDsa,
        signed,
        &URL_BASE64.decode(signature).unwrap()
    ));
    assert!(!key.verifies(
        Algorithm::Es512,
        signed,
        &URL_BASE64.decode(signature).unwrap()
    ));

    // RFC 7515, appendix A.4.
    let bytes = |text| URL_BASE64.decode(text).unwrap();
    let point = [
        vec![4],
        bytes(
            "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        ),
        bytes(
            "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
        ),
    ];
    let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&point.concat()).unwrap();
    let key = Public::P521(key);
    let signature = bytes(
        "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    );
    assert!(key.verifies(
        Algorithm::Es512,
        b"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
        &signature
    ));
    assert!(!key.verifies(
        Algorithm::Es512,
        b"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZB",
        &signature
    ));
}
