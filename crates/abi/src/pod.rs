//! The promise that user space needs before it copies these types in and out of the kernel.
#![cfg(feature = "user")]

use crate::{
    Address, Affinity, AffinityKey, Backend, Correction, DropCounter, DropSample, Endpoint,
    EndpointKey, Flow, FlowKey, FragmentKey, FragmentPorts, Iface, Lead, Leads, Load, Locality,
    NetId, Netns, NetnsNetwork, Network, Probe, PublishedKey, Service, ServiceKey, Settings,
    Sighting, Vtep,
};

macro_rules! pod {
    ($($name:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)` or `repr(transparent)` over integers and arrays of them, without
            // padding (each size is asserted beside its type), so every bit pattern is a value and
            // every byte is initialised.
            unsafe impl aya::Pod for $name {}
        )+
    };
}

pod!(
    Address,
    Affinity,
    AffinityKey,
    Backend,
    Correction,
    DropCounter,
    DropSample,
    Endpoint,
    EndpointKey,
    Flow,
    FlowKey,
    FragmentKey,
    FragmentPorts,
    Iface,
    Lead,
    Leads,
    Load,
    Locality,
    NetId,
    Netns,
    NetnsNetwork,
    Network,
    Probe,
    PublishedKey,
    Service,
    ServiceKey,
    Settings,
    Sighting,
    Vtep,
);
