//! Which backend a new flow gets: the algorithms, from their descriptions.

use abi::{Address, AffinityKey, Backend, Delivery, DropReason, NetId, Service, ServiceKey};

use super::Oracle;
use super::flows::{self, Plan};
use super::live;
use super::read::{Reading, TCP};

/// How many backends are tried for a client whose own has not answered.
const ATTEMPTS: u32 = 4;

const ROUND_ROBIN: u32 = 1;
const SOURCE: u32 = 2;
const MAGLEV: u32 = 3;
const WEIGHTED: u32 = 4;
const LOCALITY: u32 = 7;
const REPLICATED: u32 = 8;
const DESTINATION: u32 = 9;

/// Whether a packet may begin a flow: in the middle of a connection only Maglev hashing finds the
/// backend that was picked at its beginning, and a connection that ends is not worth it.
pub(super) fn admit(service: &Service, reading: &Reading) -> Result<(), DropReason> {
    if service.pick_length == 0 {
        return Err(DropReason::NoBackend);
    }
    let ends = reading.kind & 0x05 != 0;
    let is_stray = reading.protocol == TCP && reading.has_upper() && !flows::begins(reading);
    if is_stray && (ends || service.algorithm != MAGLEV) {
        return Err(DropReason::NoFlow);
    }
    Ok(())
}

impl Oracle {
    pub(super) fn service(&self, net: NetId, reading: &Reading) -> Option<Service> {
        let exact = ServiceKey {
            net,
            address: reading.destination,
            port: reading.dport,
            protocol: reading.protocol,
            reserved: 0,
        };
        let whole = ServiceKey {
            port: 0,
            protocol: 0,
            ..exact
        };
        let services = &self.contents.services;
        services
            .get(&exact)
            .or_else(|| services.get(&whole))
            .copied()
    }

    /// A backend of the service and how to reach it; client, network and way back are open.
    pub(super) fn choose(
        &mut self,
        service: &Service,
        reading: &Reading,
        attempt: u32,
    ) -> Result<Plan, DropReason> {
        let id = self.pick(service, reading, attempt)?;
        self.aim(service, reading, id)
    }

    /// A backend of the service by its number.
    pub(super) fn aim(
        &self,
        service: &Service,
        reading: &Reading,
        id: u32,
    ) -> Result<Plan, DropReason> {
        let backend = self.contents.backends.get(&id).copied();
        let backend = backend.ok_or(DropReason::NoBackend)?;
        Ok(Plan {
            net: NetId(0),
            backend: id,
            service: service.id,
            client: reading.source,
            server: backend.address,
            port: port(&backend, reading),
            there: self.way_to(&backend)?,
            back: Delivery::default(),
            via: 0,
            seen: 0,
        })
    }

    /// As `choose`: not the backend that has not answered the client, if there is another.
    pub(super) fn choose_other(
        &mut self,
        service: &Service,
        reading: &Reading,
    ) -> Result<Plan, DropReason> {
        let mut chosen = self.choose(service, reading, 0)?;
        for attempt in 1..ATTEMPTS {
            if chosen.backend != self.flows.avoid {
                break;
            }
            chosen = self.choose(service, reading, attempt)?;
        }
        Ok(chosen)
    }

    fn pick(
        &mut self,
        service: &Service,
        reading: &Reading,
        attempt: u32,
    ) -> Result<u32, DropReason> {
        let stays = service.affinity_seconds > 0 && attempt == 0;
        let client = binding(service, reading, reading.source);
        if let Some(known) = self.clients.get(&client).filter(|_| stays)
            && self.takes_flows(*known)
        {
            return Ok(*known);
        }
        let turn = match service.algorithm {
            ROUND_ROBIN | WEIGHTED => self.turn(service.id),
            SOURCE => murmur3(&address_words(reading.source)).wrapping_add(attempt),
            DESTINATION => murmur3(&address_words(reading.destination)).wrapping_add(attempt),
            MAGLEV => murmur3(&connection_words(reading, service)).wrapping_add(attempt),
            _ => return self.pick_live(service, reading, attempt, (stays, client)),
        };
        let id = self.entry(service, turn % service.pick_length);
        self.keep(id, stays, client)
    }

    /// The backend that the table before the present one has.
    pub(super) fn picked_before(&self, service: &Service, reading: &Reading) -> Option<u32> {
        let turn = murmur3(&connection_words(reading, service));
        let at = service.second_offset + turn.checked_rem(service.second_length)?;
        self.contents.picks.get(&at).copied()
    }

    fn pick_live(
        &mut self,
        service: &Service,
        reading: &Reading,
        attempt: u32,
        (stays, client): (bool, AffinityKey),
    ) -> Result<u32, DropReason> {
        let start = self.turn(service.id) % (service.pick_length / 2);
        let all = self.candidates(service, start);
        let id = if attempt > 0 {
            all[0].id
        } else if [LOCALITY, REPLICATED].contains(&service.algorithm) {
            let dialled = binding(service, reading, reading.destination);
            let known = self.destinations.entry(dialled).or_default();
            live::by_destination(known, &all, service.algorithm == REPLICATED)
        } else {
            live::best(service.algorithm, &all)
        };
        self.keep(id, stays, client)
    }

    fn keep(&mut self, id: u32, stays: bool, client: AffinityKey) -> Result<u32, DropReason> {
        if id == 0 {
            return Err(DropReason::NoBackend);
        }
        if stays {
            self.clients.insert(client, id);
        }
        Ok(id)
    }

    fn takes_flows(&self, id: u32) -> bool {
        let backend = self.contents.backends.get(&id);
        backend.is_some_and(|backend| backend.state == 1 && backend.weight > 0)
    }

    fn candidates(&self, service: &Service, start: u32) -> Vec<live::Candidate> {
        let count = service.pick_length / 2;
        let places = (0..count).map(|step| (start + step) % count);
        let candidate = |place| {
            let id = self.entry(service, place * 2);
            let load = self.flows.loads.get(&id).copied().unwrap_or_default();
            let gone = load.closed + load.failed + load.left;
            live::Candidate {
                id,
                weight: u64::from(self.entry(service, place * 2 + 1)),
                load: (load.picked + load.led).saturating_sub(gone),
            }
        };
        places.map(candidate).collect()
    }

    fn entry(&self, service: &Service, index: u32) -> u32 {
        if service.pick_length <= 8 {
            return service.inline[usize::try_from(index).unwrap()];
        }
        let at = service.pick_offset + index;
        self.contents.picks.get(&at).copied().unwrap_or_default()
    }

    fn turn(&mut self, service: u32) -> u32 {
        let Some(cursor) = self.contents.cursors.get_mut(&service) else {
            return 0;
        };
        let turn = *cursor;
        *cursor = turn.wrapping_add(1);
        turn
    }

    pub(super) fn way_to(&self, backend: &Backend) -> Result<Delivery, DropReason> {
        if backend.vtep != 0 {
            return Ok(Delivery {
                target: backend.vtep,
                mac: [0; 6],
                kind: flows::TUNNEL,
            });
        }
        let endpoint = self.endpoint(backend.net, backend.address);
        let endpoint = endpoint.ok_or(DropReason::NoBackend)?;
        Ok(Delivery {
            target: endpoint.ifindex,
            mac: endpoint.mac,
            kind: flows::TASK,
        })
    }
}

/// The backend's port, or the frontend's where the backend has none of its own.
pub(super) fn port(backend: &Backend, reading: &Reading) -> u16 {
    if backend.port == 0 {
        reading.dport
    } else {
        backend.port
    }
}

/// A client, or what it dialled, at a frontend.
fn binding(service: &Service, reading: &Reading, address: Address) -> AffinityKey {
    let every = service.flags & 4 != 0;
    AffinityKey {
        service: service.id,
        address,
        port: if every { 0 } else { reading.dport },
        protocol: if every { 0 } else { reading.protocol },
        published: u8::from(service.flags & 8 != 0),
    }
}

/// An address as four big-endian numbers.
fn address_words(address: Address) -> Vec<u32> {
    let octets = address.octets();
    octets
        .chunks_exact(4)
        .map(|chunk| u32::from_be_bytes(chunk.try_into().unwrap()))
        .collect()
}

impl Reading {
    /// Ports for a client whose own is taken, in the order in which they are tried.
    pub(super) fn other_ports(&self) -> Vec<u16> {
        if !self.has_ports() {
            return Vec::new();
        }
        let mut words = address_words(self.source);
        words.extend(address_words(self.destination));
        words.push(u32::from(self.sport) * 0x1_0000 + u32::from(self.dport));
        words.push(self.protocol.into());
        let hash = murmur3(&words);
        (1..=8u32)
            .map(|attempt| hash.wrapping_add(attempt * 7919) % 45_536 + 20_000)
            .map(|port| port.try_into().unwrap())
            .collect()
    }
}

/// The client's address, its port above the protocol, and the service; not the port of a client that
/// stays with its backend.
fn connection_words(reading: &Reading, service: &Service) -> Vec<u32> {
    let mut words = address_words(reading.source);
    let stays = service.affinity_seconds > 0;
    let port = if stays { 0 } else { u32::from(reading.sport) };
    words.push(port * 0x1_0000 + u32::from(reading.protocol));
    words.push(service.id);
    words
}

/// `MurmurHash3_x86_32` with seed 0, of numbers.
fn murmur3(words: &[u32]) -> u32 {
    let mut hash = 0u32;
    for word in words {
        let mixed = word.wrapping_mul(0xcc9e_2d51).rotate_left(15);
        hash ^= mixed.wrapping_mul(0x1b87_3593);
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    hash ^= u32::try_from(words.len() * 4).unwrap();
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}
