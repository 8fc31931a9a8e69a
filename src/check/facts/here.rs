//! Which addresses are this machine's.

use std::net::IpAddr;

use super::cloud::{self, Cloud};

/// Where this machine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Here {
    /// Without loopback and link-local ones.
    pub interfaces: Vec<Interface>,
    /// What the cloud says about us, where there is one.
    pub cloud: Option<Cloud>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub address: IpAddr,
}

impl Here {
    pub async fn look() -> Here {
        Here { interfaces: interfaces(), cloud: cloud::look(cloud::METADATA).await }
    }

    /// Whether packets to `address` come to this machine, as far as is known here.
    pub fn has(&self, address: IpAddr) -> bool {
        self.interfaces.iter().any(|interface| interface.address == address)
            || self.cloud.as_ref().is_some_and(|cloud| cloud.addresses.contains(&address))
    }

    /// The addresses the world may reach us by.
    pub fn public(&self) -> Vec<IpAddr> {
        let own = self.interfaces.iter().map(|interface| interface.address);
        let cloud = self.cloud.iter().flat_map(|cloud| cloud.addresses.iter().copied());
        let mut public: Vec<IpAddr> = own.chain(cloud).filter(|address| is_public(*address)).collect();
        public.sort_unstable();
        public.dedup();
        public
    }
}

/// Whether the world could send packets there.
pub fn is_public(address: IpAddr) -> bool {
    crate::config::model::Hostname::try_from(address.to_string().as_str()).is_ok_and(|name| name.is_public())
}

/// What the kernel says now.
pub fn interfaces() -> Vec<Interface> {
    // Where the kernel does not tell, nothing is known to be ours.
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let mut found: Vec<Interface> = all
        .into_iter()
        .map(|i| Interface { address: i.ip(), name: i.name })
        .filter(|i| is_lasting(i.address))
        .collect();
    found.sort_by_key(|interface| interface.address);
    found
}

fn is_lasting(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_ours_if_an_interface_or_the_cloud_has_it() {
        let here = Here {
            interfaces: vec![Interface { name: "eth0".into(), address: "10.0.0.5".parse().unwrap() }],
            cloud: Some(Cloud { name: "AWS", addresses: vec!["1.2.3.4".parse().unwrap()] }),
        };
        assert!(here.has("10.0.0.5".parse().unwrap()) && here.has("1.2.3.4".parse().unwrap()));
        assert!(!here.has("1.2.3.5".parse().unwrap()));
        assert_eq!(here.public(), ["1.2.3.4".parse::<IpAddr>().unwrap()]);
    }
}
