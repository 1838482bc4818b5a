use super::*;

#[test]
fn flows_are_told_when_they_appear_change_and_go() {
    let mut tracker = FlowTracker::default();
    let (one, two) = (flow(1), flow(2));
    let first = tracker.update(vec![one.clone()], NOW);
    assert_eq!(told(&first), [(Event::Present, 1)]);
    let second = tracker.update(vec![one.clone(), two.clone()], NOW);
    assert_eq!(told(&second), [(Event::New, 2)]);

    let mut closed = one;
    closed.state = FlowState::Closed;
    let third = tracker.update(vec![closed.clone(), two], NOW);
    assert_eq!(told(&third), [(Event::Changed, 1)]);
    let fourth = tracker.update(vec![closed], NOW);
    assert_eq!(told(&fourth), [(Event::Gone, 2)]);
    assert_eq!(fourth[0].flow.state, FlowState::Established);
}

#[test]
fn traffic_alone_is_no_news() {
    let mut tracker = FlowTracker::default();
    let mut flow = flow(1);
    tracker.update(vec![flow.clone()], NOW);
    flow.packets.forward += 1;
    flow.idle_ms = 900;
    assert!(tracker.update(vec![flow], NOW).is_empty());
}

#[test]
fn drops_are_told_when_their_count_grows() {
    let mut tracker = DropTracker::default();
    let grown = |tracker: &mut DropTracker, count| {
        let events = tracker.update(vec![drop_count(count)], NOW);
        events.iter().map(|event| event.new).collect::<Vec<_>>()
    };
    assert_eq!(grown(&mut tracker, 5), [0], "what there was before");
    assert!(grown(&mut tracker, 5).is_empty());
    assert_eq!(grown(&mut tracker, 7), [2]);
    assert_eq!(grown(&mut tracker, 3), [3], "counted anew");
    assert!(grown(&mut tracker, 0).is_empty());
    assert_eq!(grown(&mut tracker, 1), [1]);
}

#[test]
fn totals_of_before_are_not_shown_as_new() {
    let shown = |events: Vec<DropEvent>| -> Vec<_> {
        let cells = events.iter().map(|event| event.cells(Width::Full));
        cells.map(|cells| cells[1..4].join(" ")).collect()
    };
    let mut tracker = DropTracker::default();
    let before = shown(tracker.update(vec![drop_count(10)], NOW));
    assert_eq!(before, ["- no-backend 10"]);
    let mut other = drop_count(2);
    other.reason = "no-port".to_owned();
    let later = shown(tracker.update(vec![drop_count(11), other], NOW));
    assert_eq!(later, ["+1 no-backend 11", "+2 no-port 2"]);
}

#[test]
fn events_are_flat_objects() {
    let event = serde_json::to_value(FlowEvent::example()).unwrap();
    assert_eq!(
        (&event["Event"], &event["Service"]),
        (&"new".into(), &"web".into())
    );
    let event = serde_json::to_value(DropEvent::example()).unwrap();
    assert_eq!(
        (&event["New"], &event["Reason"]),
        (&1.into(), &"no-backend".into())
    );
}

#[tokio::test(start_paused = true)]
async fn silence_before_the_first_answer_is_a_failure_and_later_is_not() {
    let missing = || ClientError::SocketMissing {
        socket: "/s".into(),
    };
    let failed = Pace::new().next::<()>(async { Err(missing()) }).await;
    assert!(failed.is_err());

    let mut pace = Pace::new();
    assert_eq!(pace.next(async { Ok(1) }).await.unwrap(), Some(1));
    assert_eq!(
        pace.next::<u8>(async { Err(missing()) }).await.unwrap(),
        None
    );
    assert_eq!(pace.next(async { Ok(2) }).await.unwrap(), Some(2));
}

const NOW: Timestamp = Timestamp(SystemTime::UNIX_EPOCH);

fn told(events: &[FlowEvent]) -> Vec<(Event, u16)> {
    let told = events
        .iter()
        .map(|event| (event.event, event.flow.client.port()));
    told.collect()
}

fn flow(port: u16) -> Flow {
    let mut flow = Flow::example();
    flow.client.set_port(port);
    flow
}

fn drop_count(count: u64) -> DropCount {
    let mut drop = DropCount::example();
    drop.count = count;
    drop
}
