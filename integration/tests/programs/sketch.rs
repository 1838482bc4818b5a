//! Frames, built by etherparse from a sketch of what they should say.

use abi::Address;
use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header,
    Ipv4Options, Ipv6Header, TcpHeader, UdpHeader,
};

/// A piece of a packet: offset in units of eight octets, whether more follow, identification.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) offset: u16,
    pub(crate) more: bool,
    pub(crate) id: u16,
}

/// What a packet should say.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) protocol: u8,
    /// TCP flags or ICMP type.
    pub(crate) kind: u8,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
    pub(crate) payload: Vec<u8>,
    /// IPv4 options, in units of four octets.
    pub(crate) options: u8,
    pub(crate) tcp_options: Vec<u8>,
    /// IPv6 extension headers: protocol number, and the two octets behind its own two.
    pub(crate) extensions: Vec<(u8, [u8; 2])>,
    pub(crate) part: Option<Part>,
    pub(crate) ttl: u8,
    /// UDP without a checksum.
    pub(crate) bare: bool,
    /// The Ethernet addresses, destination first.
    pub(crate) link: [u8; 12],
}

impl Sketch {
    pub(crate) fn new(source: (Address, u16), destination: (Address, u16), protocol: u8) -> Self {
        Self {
            source: source.0,
            destination: destination.0,
            protocol,
            kind: 0,
            sport: source.1,
            dport: destination.1,
            payload: vec![0xab; 9],
            options: 0,
            tcp_options: Vec::new(),
            extensions: Vec::new(),
            part: None,
            ttl: 63,
            bare: false,
            link: [2, 0x6e, 0x64, 0, 0, 1, 2, 0x42, 0, 0, 0, 9],
        }
    }

    pub(crate) fn udp(source: (Address, u16), destination: (Address, u16)) -> Self {
        Self::new(source, destination, 17)
    }

    /// The whole frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let upper = if self.part.is_some_and(|part| part.offset != 0) {
            self.payload.clone()
        } else {
            self.upper()
        };
        let mut frame = self.link.to_vec();
        if self.is_v4() {
            frame.extend([8, 0]);
            frame.extend(self.ipv4(upper.len()));
        } else {
            frame.extend([0x86, 0xdd]);
            frame.extend(self.ipv6(upper.len()));
        }
        frame.extend(upper);
        frame
    }

    fn is_v4(&self) -> bool {
        self.source.is_v4()
    }

    fn ipv4(&self, upper: usize) -> Vec<u8> {
        let octets = |address: &Address| address.octets()[12..].try_into().unwrap();
        let options = vec![1; usize::from(self.options) * 4];
        let mut header = Ipv4Header {
            time_to_live: self.ttl,
            protocol: IpNumber(self.protocol),
            source: octets(&self.source),
            destination: octets(&self.destination),
            options: Ipv4Options::try_from(&options[..]).unwrap(),
            ..Ipv4Header::default()
        };
        header.set_payload_len(upper).unwrap();
        if let Some(part) = self.part {
            header.dont_fragment = false;
            header.identification = part.id;
            header.fragment_offset = IpFragOffset::try_new(part.offset).unwrap();
            header.more_fragments = part.more;
        }
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn ipv6(&self, upper: usize) -> Vec<u8> {
        let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
        for (number, [a, b]) in &self.extensions {
            // The odd ones are longer.
            let more = b % 2;
            let mut header = vec![0, more, *a, *b, 1, 2, 0, 0];
            header.resize(8 + 8 * usize::from(more), 0);
            chain.push((*number, header));
        }
        if let Some(part) = self.part {
            let [high, low] = (part.offset * 8 + u16::from(part.more)).to_be_bytes();
            let [id_high, id_low] = part.id.to_be_bytes();
            chain.push((44, vec![0, 0, high, low, 0, 7, id_high, id_low]));
        }
        let mut next = self.protocol;
        for (number, header) in chain.iter_mut().rev() {
            header[0] = std::mem::replace(&mut next, *number);
        }
        let chain: Vec<u8> = chain.into_iter().flat_map(|(_, header)| header).collect();
        let header = Ipv6Header {
            traffic_class: 0x28,
            flow_label: 0x12345.try_into().unwrap(),
            payload_length: u16::try_from(chain.len() + upper).unwrap(),
            next_header: IpNumber(next),
            hop_limit: self.ttl,
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(chain);
        bytes
    }

    fn upper(&self) -> Vec<u8> {
        let mut bytes = match self.protocol {
            6 => self.tcp_header(),
            17 => self.udp_header(),
            1 => self.icmp_header(),
            58 => self.icmp6_header(),
            _ => Vec::new(),
        };
        bytes.extend(&self.payload);
        bytes
    }

    fn tcp_header(&self) -> Vec<u8> {
        let mut header = TcpHeader::new(self.sport, self.dport, 0xfffe_fd00, 4096);
        header.acknowledgment_number = 0x0102_0304;
        header.set_options_raw(&self.tcp_options).unwrap();
        let flag = |bit: u8| self.kind & bit != 0;
        header.fin = flag(1);
        header.syn = flag(2);
        header.rst = flag(4);
        header.psh = flag(8);
        header.ack = flag(16);
        header.urg = flag(32);
        header.ece = flag(64);
        header.cwr = flag(128);
        header.checksum = if self.is_v4() {
            header.calc_checksum_ipv4_raw(self.v4(true), self.v4(false), &self.payload)
        } else {
            header.calc_checksum_ipv6_raw(
                self.source.octets(),
                self.destination.octets(),
                &self.payload,
            )
        }
        .unwrap();
        header.to_bytes().to_vec()
    }

    fn udp_header(&self) -> Vec<u8> {
        let mut header = UdpHeader {
            source_port: self.sport,
            destination_port: self.dport,
            length: u16::try_from(8 + self.payload.len()).unwrap(),
            checksum: 0,
        };
        if !self.bare {
            header.checksum = if self.is_v4() {
                header.calc_checksum_ipv4_raw(self.v4(true), self.v4(false), &self.payload)
            } else {
                header.calc_checksum_ipv6_raw(
                    self.source.octets(),
                    self.destination.octets(),
                    &self.payload,
                )
            }
            .unwrap();
        }
        header.to_bytes().to_vec()
    }

    fn icmp_header(&self) -> Vec<u8> {
        let kind = Icmpv4Type::Unknown {
            type_u8: self.kind,
            code_u8: 0,
            bytes5to8: [1, 2, 3, 4],
        };
        let header = Icmpv4Header::with_checksum(kind, &self.payload);
        header.to_bytes().to_vec()
    }

    fn icmp6_header(&self) -> Vec<u8> {
        let kind = Icmpv6Type::Unknown {
            type_u8: self.kind,
            code_u8: 0,
            bytes5to8: [0, 0, 0, 0],
        };
        let (source, destination) = (self.source.octets(), self.destination.octets());
        let header = Icmpv6Header::with_checksum(kind, source, destination, &self.payload);
        header.unwrap().to_bytes().to_vec()
    }

    fn v4(&self, source: bool) -> [u8; 4] {
        let address = if source {
            &self.source
        } else {
            &self.destination
        };
        address.octets()[12..].try_into().unwrap()
    }
}

/// An ARP packet; `operation` is 1 for a request.
pub(crate) fn arp(operation: u8, sender: Address, target: Address) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0x42, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend([2, 0x42, 0, 0, 0, 9]);
    frame.extend(&sender.octets()[12..]);
    frame.extend([0; 6]);
    frame.extend(&target.octets()[12..]);
    frame
}

/// A neighbour solicitation.
pub(crate) fn solicitation(sender: Address, target: Address) -> Vec<u8> {
    let group: std::net::IpAddr = "ff02::1:ff00:2".parse().unwrap();
    let mut sketch = Sketch::new((sender, 0), (group.into(), 0), 58);
    sketch.kind = 135;
    sketch.ttl = 255;
    sketch.payload = target.octets().to_vec();
    sketch.payload.extend([1, 1, 2, 0x42, 0, 0, 0, 9]);
    sketch.frame()
}
