//! The port for clients, as the settings describe it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tidelog_frontend::FrontendOptions;
use tidelog_model::ClusterId;
use tidelog_wire::Credentials;

use crate::settings::Settings;

/// What a frontend of this cluster is started with.
pub fn options(settings: &Settings, credentials: Credentials, cluster: ClusterId) -> FrontendOptions {
    let mut options = FrontendOptions::new(settings.listen_quic, credentials);
    options.advertised = settings.listen_advertise.as_ref().map(|endpoint| endpoint.0.clone());
    options.allow_unauthenticated = settings.listen_anonymous;
    options.cluster_id = Some(cluster);
    options.limits.connections = settings.listen_connections;
    options.frame_budget_bytes = settings.listen_frame_bytes.as_usize();
    options.window_budget_bytes = settings.listen_window_bytes.as_usize();
    options.read_budget_bytes = settings.listen_read_bytes.as_usize();
    options
}

/// Where this machine reaches a listener on all addresses.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// `host:port` of an address that is listened on, for others, who reach this process at `host`.
pub fn seen_from_elsewhere(address: SocketAddr, host: &str) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let port = address.port();
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_names_an_address_that_can_be_reached() {
        assert_eq!(reachable("0.0.0.0:9440".parse().unwrap()).to_string(), "127.0.0.1:9440");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
    }

    #[test]
    fn others_are_told_a_host_that_they_reach() {
        let seen = |address: &str, host| seen_from_elsewhere(address.parse().unwrap(), host);
        assert_eq!(seen("10.0.0.1:9444", "front.example"), "10.0.0.1:9444");
        assert_eq!(seen("0.0.0.0:9444", "front.example"), "front.example:9444");
        assert_eq!(seen("[::]:9444", "2001:db8::1"), "[2001:db8::1]:9444");
    }
}
