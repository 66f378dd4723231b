//! Check of the addresses of webhook endpoints: only the public internet is allowed. Host names are checked when they are
//! resolved for the connection, since a name that is checked earlier can resolve differently later (DNS rebinding).

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use shared::env::{ConfigError, Env};

/// Addresses outside of the public internet: IANA's special-purpose registry for IPv4, and multicast.
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
const SPECIAL_V4: [&str; 17] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
];

/// Of IPv6 only 2000::/3 is public, except for these.
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
const SPECIAL_V6: [&str; 5] = ["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"];

/// Prefix of NAT64 (RFC 6052): the last 32 bits are an IPv4 address.
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

static V4: LazyLock<Vec<Ipv4Net>> = LazyLock::new(|| SPECIAL_V4.iter().filter_map(|net| net.parse().ok()).collect());
static V6: LazyLock<Vec<Ipv6Net>> = LazyLock::new(|| SPECIAL_V6.iter().filter_map(|net| net.parse().ok()).collect());

/// Reason why a URL is not allowed as an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forbidden {
    /// The URL is not https, or contains a user or a password.
    Url,
    /// The URL leads to an address outside of the public internet.
    Address,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Url => "the URL must be https, without user and password",
            Self::Address => "the URL leads to an address that is not of the public internet",
        })
    }
}

impl Error for Forbidden {}

/// Whether an address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !V4.iter().any(|net| net.contains(&address))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // An IPv4-mapped address counts as the IPv4 address.
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let [a, b, c, d, e, f, high, low] = address.segments();
    if [a, b, c, d, e, f] == NAT64 {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    a >> 13 == 1 && !V6.iter().any(|net| net.contains(&address))
}

/// Checks the URL of an endpoint. The addresses of its host name are checked later, by `PublicResolver`.
///
/// # Errors
/// When it is not allowed.
pub fn check_url(url: &str, policy: WebhookPolicy) -> Result<Url, Forbidden> {
    let url = Url::parse(url).map_err(|_| Forbidden::Url)?;
    let is_allowed = url.scheme() == "https" || (policy.allow_private && url.scheme() == "http");
    if !is_allowed || !url.username().is_empty() || url.password().is_some() {
        return Err(Forbidden::Url);
    }
    // Literal addresses bypass the resolver, and so its check.
    let host = url.host_str().ok_or(Forbidden::Url)?;
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    match address {
        Some(address) if !policy.allow_private && !is_public(address) => Err(Forbidden::Address),
        _ => Ok(url),
    }
}

/// Policy of endpoint URLs.
#[derive(Debug, Clone, Copy)]
pub struct WebhookPolicy {
    /// `ALLOW_PRIVATE_WEBHOOKS`: whether private addresses and http are allowed, for development only. False by default.
    pub allow_private: bool,
}

impl WebhookPolicy {
    /// Reads the policy.
    ///
    /// # Errors
    /// When the variable is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { allow_private: env.flag("ALLOW_PRIVATE_WEBHOOKS")? })
    }
}

/// DNS resolver that rejects hosts with a private address.
pub(crate) struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            only_public(found.collect()).map(|addresses| Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Rejects hosts that resolve to any private address (DNS rebinding).
fn only_public(addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
    if addresses.iter().all(|address| is_public(address.ip())) {
        Ok(addresses)
    } else {
        Err(Box::new(Forbidden::Address))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_networks_parse() {
        assert_eq!((V4.len(), V6.len()), (SPECIAL_V4.len(), SPECIAL_V6.len()));
    }

    #[test]
    fn special_purpose_addresses_are_not_public() {
        for public in ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "100::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn private_addresses_are_refused_in_every_notation() {
        let strict = WebhookPolicy { allow_private: false };
        assert!(check_url("https://partner.example/hook?x=1", strict).is_ok());
        assert!(check_url("https://8.8.8.8/", strict).is_ok());
        for (url, why) in [
            ("http://partner.example/", Forbidden::Url),
            ("ftp://partner.example/", Forbidden::Url),
            ("https://user:secret@partner.example/", Forbidden::Url),
            ("partner.example", Forbidden::Url),
            ("https://127.0.0.1/", Forbidden::Address),
            ("https://2130706433/", Forbidden::Address),
            ("https://0x7f.1/", Forbidden::Address),
            ("https://0177.0.0.1/", Forbidden::Address),
            ("https://127.1/", Forbidden::Address),
            ("https://[::1]/", Forbidden::Address),
            ("https://[::ffff:a9fe:a9fe]/latest/meta-data", Forbidden::Address),
        ] {
            assert_eq!(check_url(url, strict).err(), Some(why), "{url}");
        }
        let local = WebhookPolicy { allow_private: true };
        assert!(check_url("http://127.0.0.1:8093/", local).is_ok());
        assert!(check_url("ftp://127.0.0.1/", local).is_err());
    }

    #[test]
    fn a_host_with_one_private_address_is_refused() {
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 0);
        assert!(only_public(vec![at("1.1.1.1"), at("2606:4700::1111")]).is_ok());
        assert!(only_public(vec![at("1.1.1.1"), at("10.0.0.1")]).is_err());
    }

    #[tokio::test]
    async fn a_host_is_checked_by_the_addresses_that_it_resolves_to() {
        assert!(PublicResolver.resolve("localhost".parse().unwrap()).await.is_err());
    }
}
