//! Signatures of links to the hosted page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, EncodingKey};

use super::is_same_secret;
use crate::pocketbase::records::LinkSecret;
use crate::types::{UserId, hex};

/// Reason why a signed link is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// `expires` or `signature` is missing, `expires` is no number, or the partner has no link secret.
    #[error("the link is not signed")]
    Unsigned,
    /// The signature is wrong.
    #[error("the link has a wrong signature")]
    Forged,
    /// The link has expired.
    #[error("the link has expired")]
    Expired,
}

/// Signature of a link: HMAC-SHA256 of `"<user_identifier>\n<expires>"` with the partner's link secret as key, in lower-case hexadecimal.
/// `expires` is in Unix seconds.
///
/// # Errors
/// When the signature cannot be computed.
pub fn sign_link(secret: &LinkSecret, user: &UserId, expires: u64) -> Result<String, jsonwebtoken::errors::Error> {
    let message = format!("{}\n{expires}", user.as_str());
    let key = EncodingKey::from_secret(secret.0.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(jsonwebtoken::errors::Error::from)?;
    Ok(hex(signature))
}

/// Verifies the signature of a link, and that it has not expired.
///
/// # Errors
/// [`LinkError`].
pub fn verify_link(
    secret: Option<&LinkSecret>,
    user: &UserId,
    expires: Option<&str>,
    signature: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), LinkError> {
    let (Some(secret), Some(expires), Some(signature)) = (secret, expires, signature) else {
        return Err(LinkError::Unsigned);
    };
    // The text is signed, so that it must be in its only form.
    let seconds: u64 = expires.parse().map_err(|_| LinkError::Unsigned)?;
    let expected = sign_link(secret, user, seconds).map_err(|_| LinkError::Unsigned)?;
    if seconds.to_string() != expires || !is_same_secret(&expected, &signature.to_ascii_lowercase()) {
        return Err(LinkError::Forged);
    }
    if i64::try_from(seconds).map_or(true, |seconds| seconds <= now.timestamp()) {
        return Err(LinkError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_link_holds_for_its_person_its_secret_and_its_time() {
        let secret = LinkSecret("ls_0123456789abcdef".to_owned());
        let (anna, bert): (UserId, UserId) = ("anna".parse().unwrap(), "bert".parse().unwrap());
        // printf 'anna\n1800000000' | openssl dgst -sha256 -hmac ls_0123456789abcdef
        let signature = sign_link(&secret, &anna, 1_800_000_000).unwrap();
        assert_eq!(signature, "215b8125bcfb6c8b6965d80e895f9c8a0cd4bdd8129c0b3f9571de5acebcbee7");
        let now = DateTime::from_timestamp(1_799_999_999, 0).unwrap();
        let verify = |secret: Option<&LinkSecret>, user: &UserId, expires: &str, signature: &str, now| {
            verify_link(secret, user, Some(expires), Some(signature), now)
        };
        let other = LinkSecret("ls_another".to_owned());
        assert_eq!(verify(Some(&secret), &anna, "1800000000", &signature, now), Ok(()));
        assert_eq!(verify(Some(&secret), &anna, "1800000000", &signature.to_uppercase(), now), Ok(()));
        for (secret, user, expires, signature, error) in [
            (Some(&secret), &bert, "1800000000", &*signature, LinkError::Forged),
            (Some(&other), &anna, "1800000000", &signature, LinkError::Forged),
            (Some(&secret), &anna, "1800000001", &signature, LinkError::Forged),
            (Some(&secret), &anna, "+1800000000", &signature, LinkError::Forged),
            (Some(&secret), &anna, "1800000000", "", LinkError::Forged),
            (Some(&secret), &anna, "soon", &signature, LinkError::Unsigned),
            (None, &anna, "1800000000", &signature, LinkError::Unsigned),
        ] {
            assert_eq!(verify(secret, user, expires, signature, now), Err(error), "{expires}");
        }
        let then = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        assert_eq!(verify(Some(&secret), &anna, "1800000000", &signature, then), Err(LinkError::Expired));
        assert_eq!(verify_link(Some(&secret), &anna, None, None, now), Err(LinkError::Unsigned));
    }
}
