//! Whether a program did what the oracle says.

use abi::DropReason;
use anyhow::{Context, Result, ensure};
use etherparse::checksum::Sum16BitWords;
use integration::testrun::{Packet, Ran, action};

use crate::oracle::read::{ICMP, Reading, TCP, UDP};
use crate::oracle::{Fate, Quote, Sent, Sum, Verdict};

/// Compares action and frame.
pub(crate) fn outcome(packet: &Packet, wanted: &Verdict, ran: &Ran) -> Result<()> {
    match wanted {
        Err(reason) => ensure!(
            ran.action == action::DROP,
            "action {}, should have been dropped as {}",
            ran.action,
            reason.name()
        ),
        Ok(Fate::Pass) => {
            ensure!(
                ran.action == action::PASS,
                "action {}, should pass",
                ran.action
            );
            ensure!(ran.frame == packet.frame, "a passed packet was changed");
        }
        Ok(Fate::Sent(sent)) => {
            ensure!(
                ran.action == action::REDIRECT,
                "action {}, should be sent",
                ran.action
            );
            frame(packet, sent, &ran.frame)?;
        }
    }
    Ok(())
}

/// What is counted for a verdict.
pub(crate) fn counted(wanted: &Verdict) -> Option<DropReason> {
    match wanted {
        Err(reason) => Some(*reason),
        Ok(Fate::Pass) => None,
        Ok(Fate::Sent(sent)) => sent.told,
    }
}

/// A verdict in a word.
pub(crate) fn word(packet: &Packet, wanted: &Verdict) -> &'static str {
    match wanted {
        Err(reason) => reason.name(),
        Ok(Fate::Pass) => "passed",
        Ok(Fate::Sent(sent)) => match (sent.told, sent.frame[14..] == packet.frame[14..]) {
            (Some(reason), _) => told(reason),
            (None, _) if sent.quote.is_some() => "sent an error",
            (None, _) if renumbered(packet, sent) => "sent renumbered",
            (None, true) => "sent as it was",
            (None, false) => "sent changed",
        },
    }
}

/// Whether a client's port is another now, and its address the same.
fn renumbered(packet: &Packet, sent: &Sent) -> bool {
    let (Ok(before), Ok(after)) = (Reading::of(&packet.frame), Reading::of(&sent.frame)) else {
        return false;
    };
    before.source == after.source && before.sport < 20_000 && after.sport >= 20_000
}

fn told(reason: DropReason) -> &'static str {
    match reason.name() {
        "no-backend" => "told no-backend",
        "no-port" => "told no-port",
        "no-flow" => "told no-flow",
        "too-big" => "told too-big",
        _ => "told collision",
    }
}

fn frame(packet: &Packet, sent: &Sent, there: &[u8]) -> Result<()> {
    let reading = Reading::of(&packet.frame).ok();
    let (mut wanted, mut found) = (sent.frame.clone(), there.to_vec());
    if sent.padded {
        padding(packet, there)?;
        found.truncate(found.len() - 2);
    }
    if let Some(quote) = sent.quote {
        quoted(&quote, &packet.frame, there)?;
        for frame in [&mut wanted, &mut found] {
            for at in quote_sums(&quote, frame) {
                frame[at..at + 2].fill(0);
            }
        }
    }
    if let Some(sum) = sent.ip {
        let l4 = 14 + usize::from(there[14] % 16) * 4;
        let before = rest(&packet.frame[14..l4], &[]);
        check(sum, before, rest(&there[14..l4], &[]), "IPv4 header")?;
        for frame in [&mut wanted, &mut found] {
            frame[24..26].fill(0);
        }
    }
    if let (Some(sum), Some(reading)) = (sent.upper, reading) {
        let at = reading.l4 + place(reading.protocol);
        upper(sum, &packet.frame, there, &reading)?;
        for frame in [&mut wanted, &mut found] {
            if let Some(field) = frame.get_mut(at..at + 2) {
                field.fill(0);
            }
        }
    }
    ensure!(
        wanted == found,
        "frame\n  {}\nshould be\n  {}",
        hex(&found),
        hex(&wanted)
    );
    Ok(())
}

/// Where the checksums of a quoted packet stand.
fn quote_sums(quote: &Quote, frame: &[u8]) -> Vec<usize> {
    let ip = (frame[quote.ip] / 16 == 4).then_some(quote.ip + 10);
    let udp = (quote.protocol == UDP).then_some(quote.l4 + 6);
    ip.into_iter().chain(udp).collect()
}

/// Whether the checksums of a quoted packet are as right as they were.
fn quoted(quote: &Quote, before: &[u8], after: &[u8]) -> Result<()> {
    let is_v4 = before[quote.ip] / 16 == 4;
    if is_v4 {
        let header = |frame: &[u8]| rest(&frame[quote.ip..quote.ip + 20], &[]);
        check(
            Sum::Kept,
            header(before),
            header(after),
            "quoted IPv4 header",
        )?;
    }
    if quote.protocol == UDP {
        let field = quote.l4 + 6;
        let is_absent = |frame: &[u8]| frame[field..field + 2] == [0, 0];
        ensure!(
            is_absent(before) == is_absent(after),
            "a quoted UDP checksum came or went"
        );
        let (at, length) = if is_v4 { (12, 8) } else { (8, 32) };
        let covered = |frame: &[u8]| {
            let addresses = &frame[quote.ip + at..quote.ip + at + length];
            rest(&frame[quote.l4..quote.l4 + 8], addresses)
        };
        if !is_absent(before) {
            check(Sum::Kept, covered(before), covered(after), "quoted UDP")?;
        }
    }
    Ok(())
}

/// Whether a device that completes the checksum of the packet that came, from the place of its header
/// above IP to the end, leaves the answer as it is.
fn padding(packet: &Packet, there: &[u8]) -> Result<()> {
    let reading = Reading::of(&packet.frame).ok().context("unreadable")?;
    let at = reading.l4 + place(reading.protocol);
    let completed = Sum16BitWords::new().add_slice(&there[reading.l4..]);
    let would = completed.ones_complement().to_ne_bytes();
    ensure!(
        there[at..at + 2] == would,
        "a device would write {would:02x?} at {at}"
    );
    Ok(())
}

/// Where the checksum stands in the header above IP.
const fn place(protocol: u8) -> usize {
    match protocol {
        TCP => 16,
        UDP => 6,
        _ => 2,
    }
}

fn upper(sum: Sum, before: &[u8], after: &[u8], reading: &Reading) -> Result<()> {
    let at = reading.l4 + place(reading.protocol);
    ensure!(after.len() >= at + 2, "too short for a checksum");
    if reading.protocol == UDP && sum == Sum::Kept {
        let is_absent = |frame: &[u8]| frame[at..at + 2] == [0, 0];
        ensure!(
            is_absent(before) == is_absent(after),
            "a UDP checksum came or went"
        );
        if is_absent(before) {
            return Ok(());
        }
    }
    let (was, is) = (whole(before, reading), whole(after, reading));
    check(sum, was, is, "upper")
}

/// The rest of the checksum above IP, pseudo header included.
fn whole(frame: &[u8], reading: &Reading) -> u16 {
    let end = reading.end.min(frame.len());
    let length = u32::try_from(end - reading.l4).unwrap().to_be_bytes();
    let addresses = if reading.v6 {
        &frame[22..54]
    } else {
        &frame[26..34]
    };
    let pseudo = [addresses, &length, &[0, 0, 0, reading.protocol]].concat();
    let has_pseudo = reading.protocol != ICMP;
    let upper = &frame[reading.l4..end];
    rest(upper, if has_pseudo { &pseudo } else { &[] })
}

fn check(sum: Sum, before: u16, after: u16, what: &str) -> Result<()> {
    let wanted = match sum {
        Sum::Kept => before,
        Sum::Right => 0,
    };
    ensure!(
        after == wanted,
        "{what} checksum is off by {after:04x}, was by {before:04x}"
    );
    Ok(())
}

/// What a checksum field leaves over: 0 when it is right.
fn rest(bytes: &[u8], pseudo: &[u8]) -> u16 {
    let sum = Sum16BitWords::new().add_slice(pseudo).add_slice(bytes);
    match sum.ones_complement() {
        0xffff => 0,
        rest => rest,
    }
}

/// Bytes for people.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::new();
    for chunk in bytes.chunks(2) {
        for byte in chunk {
            let _ = write!(text, "{byte:02x}");
        }
        text.push(' ');
    }
    text
}
