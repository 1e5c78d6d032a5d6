//! Addresses and networks as expressions see them (CO-235).

use std::net::IpAddr;

use ipnet::IpNet;
use monty_types::MontyObject;

use crate::{
    bridge::{Bridge, Entry},
    helpers::{count, is_global, number, version},
};

/// What travels with every address: what it is compared and ordered by, and its text.
const ADDRESS: [&str; 3] = ["version", "_n", "_str_"];

/// What travels with every network: its ends, and its text.
const NETWORK: [&str; 4] = ["version", "_first", "_last", "_str_"];

impl Bridge<'_> {
    /// An address, with what is mentioned of it. A mapped IPv4 address is the IPv4 address.
    pub(crate) fn address(&mut self, address: IpAddr) -> MontyObject {
        let address = address.to_canonical();
        let names = ["is_private", "is_global", "is_loopback", "is_link_local", "is_multicast"];
        let mentioned = names.into_iter().filter(|name| self.mentions(name));
        let attributes: Vec<_> = ADDRESS
            .into_iter()
            .chain(mentioned)
            .filter_map(|name| Some((name, address_attribute(address, name)?)))
            .collect();
        self.instance(Entry::Address(address), attributes)
    }

    /// A network, with what is mentioned of it.
    pub(crate) fn network(&mut self, net: IpNet) -> MontyObject {
        let names = ["prefixlen", "num_addresses", "network_address", "broadcast_address", "netmask", "hostmask"];
        let mentioned: Vec<_> = names.into_iter().filter(|name| self.mentions(name)).collect();
        let attributes: Vec<_> = NETWORK
            .into_iter()
            .chain(mentioned)
            .filter_map(|name| Some((name, self.network_attribute(net, name)?)))
            .collect();
        self.instance(Entry::Network(net), attributes)
    }

    /// An attribute of a network.
    pub(crate) fn network_attribute(&mut self, net: IpNet, name: &str) -> Option<MontyObject> {
        Some(match name {
            "version" => MontyObject::Int(version(net.addr())),
            "_first" => number(net.network()),
            "_last" => number(net.broadcast()),
            "_str_" => MontyObject::String(net.to_string()),
            "prefixlen" => MontyObject::Int(i64::from(net.prefix_len())),
            "num_addresses" => count(net),
            "network_address" => self.address(net.network()),
            "broadcast_address" => self.address(net.broadcast()),
            "netmask" => self.address(net.netmask()),
            "hostmask" => self.address(net.hostmask()),
            _ => return None,
        })
    }
}

/// An attribute of an address.
pub(crate) fn address_attribute(address: IpAddr, name: &str) -> Option<MontyObject> {
    Some(match name {
        "version" => MontyObject::Int(version(address)),
        "_n" => number(address),
        "_str_" => MontyObject::String(address.to_string()),
        // Private means not reachable from everywhere.
        "is_private" => MontyObject::Bool(!is_global(address)),
        "is_global" => MontyObject::Bool(is_global(address)),
        "is_loopback" => MontyObject::Bool(address.is_loopback()),
        "is_link_local" => MontyObject::Bool(match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }),
        "is_multicast" => MontyObject::Bool(address.is_multicast()),
        _ => return None,
    })
}
