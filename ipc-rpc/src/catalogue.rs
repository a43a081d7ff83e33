//! What a server serves, looked up by ordinal.

use std::collections::HashMap;
use std::sync::Arc;

use crate::connection;
use crate::dispatch::{AnyService, Handler};
use crate::{Error, ErrorKind, MethodInfo, ServiceInfo};

/// The services of a server, checked to be tellable apart.
pub(crate) struct Catalogue {
    services: Vec<Arc<dyn AnyService>>,
    methods: HashMap<u64, (usize, &'static MethodInfo)>,
    offered: Arc<[&'static ServiceInfo]>,
}

impl Catalogue {
    pub(crate) fn new(services: Vec<Arc<dyn AnyService>>) -> Result<Self, Error> {
        let mut methods: HashMap<u64, (usize, &'static MethodInfo)> = HashMap::new();
        if services.len() > connection::MAX_SERVICES {
            let sentence = format!(
                "a server serves at most {} services, not {}",
                connection::MAX_SERVICES,
                services.len()
            );
            return Err(Error::new(ErrorKind::TooLarge, sentence));
        }
        for (index, service) in services.iter().enumerate() {
            let info = service.info();
            if services[..index]
                .iter()
                .any(|other| other.info().name == info.name)
            {
                let sentence = format!(
                    "two services are called {}; give one of them another `name`",
                    info.name
                );
                return Err(Error::new(ErrorKind::Incompatible, sentence));
            }
            for method in info.methods {
                if let Some((_, other)) = methods.insert(method.ordinal, (index, method)) {
                    let sentence = format!(
                        "{} and {} have the same ordinal; rename one of them, or its service",
                        other.name, method.name
                    );
                    return Err(Error::new(ErrorKind::Incompatible, sentence));
                }
            }
        }
        let offered = services.iter().map(|service| service.info()).collect();
        Ok(Self {
            services,
            methods,
            offered,
        })
    }

    pub(crate) fn offered(&self) -> Arc<[&'static ServiceInfo]> {
        self.offered.clone()
    }

    /// The method with this ordinal, and the index of its service.
    pub(crate) fn method(&self, ordinal: u64) -> Option<(usize, &'static MethodInfo)> {
        self.methods.get(&ordinal).copied()
    }

    pub(crate) fn handler(&self, service: usize) -> Box<dyn Handler> {
        self.services[service].handler()
    }

    pub(crate) fn len(&self) -> usize {
        self.services.len()
    }

    /// A service that refuses to be called by it does not know whom.
    pub(crate) fn requiring_identity(&self) -> Option<&'static str> {
        self.services
            .iter()
            .find(|service| service.requires_identity())
            .map(|service| service.info().name)
    }
}
