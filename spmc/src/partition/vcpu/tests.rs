//! The three tables of `vcpu.rs`, for every pair.

use super::*;
use Event::*;
use FfaError::*;

const CALLEE: Link = Link(0x12_3450);
/// The context of [`CALLEE`] in another life.
const FORMER: Link = Link(0x02_3450);
const OTHER: Link = Link(0x12_4560);

const STATES: [State; 9] = [
    State::Off,
    State::Waiting,
    State::Running,
    State::Blocked(CALLEE),
    State::Yielded(5),
    State::Stopped(6),
    State::Preempted,
    State::Aborted,
    State::Halted,
];

const REQUEST: super::Request = super::Request {
    requester: PartitionId(0x8001),
    kind: super::Message::DirectReq,
    message: 0,
};

const BEGINS: [Begin; 4] = [
    Begin::Start,
    Begin::Request(REQUEST, Caller::Vcpu(OTHER)),
    Begin::Run,
    Begin::Interrupt,
];

const EVENTS: [Event; 14] = [
    Resume,
    Block(CALLEE),
    Unblock(CALLEE),
    Unblock(FORMER),
    Rewire(CALLEE, OTHER),
    Rewire(FORMER, OTHER),
    Wait,
    Yield(5),
    Stop(6),
    Preempt,
    Abort,
    TurnOff,
    Reload,
    Halt,
];

// req: GEN-25, MSGD-07, MSGD-08, MSGW-14, MSGW-15, RUN-24
#[test]
fn every_state_and_work() {
    let (d, b, a) = (Err(Denied), Err(Busy), Err(Aborted));
    let runs = Ok(State::Running);
    let expected = [
        // The columns are the entries of `BEGINS`.
        (State::Off, [runs, b, b, b]),
        (State::Waiting, [d, runs, runs, runs]),
        (State::Running, [d, b, b, b]),
        (State::Blocked(CALLEE), [d, b, d, d]),
        (State::Yielded(5), [d, b, d, d]),
        (State::Stopped(6), [d, b, d, d]),
        (State::Preempted, [d, b, d, d]),
        (State::Aborted, [a, a, a, a]),
        (State::Halted, [runs, b, b, b]),
    ];
    assert_eq!(expected.map(|(state, _)| state), STATES);
    for (state, expected) in expected {
        assert_eq!(
            BEGINS.map(|work| begin(state, &work)),
            expected,
            "{state:?}"
        );
    }
}

#[test]
fn work_says_why_and_for_whom() {
    let expected = [
        (Model::Init, Caller::Outside),
        (Model::Request(REQUEST), Caller::Vcpu(OTHER)),
        (Model::Run, Caller::Outside),
        (Model::Interrupt, Caller::Outside),
    ];
    assert_eq!(BEGINS.map(|work| (work.model(), work.caller())), expected);
}

// req: MSGW-14, MSGW-15, MSGW-16, RUN-19, RUN-24
#[test]
fn every_state_and_event() {
    let (d, b, a) = (Err(Denied), Err(Busy), Err(Aborted));
    let dead = Ok(State::Aborted);
    let runs = Ok(State::Running);
    let off = Ok(State::Off);
    let expected = [
        // The columns are the entries of `EVENTS`.
        [b, d, d, d, d, d, d, d, d, d, dead, off, d, d],
        [d, d, d, d, d, d, d, d, d, d, dead, off, d, d],
        [
            b,
            Ok(State::Blocked(CALLEE)),
            d,
            d,
            d,
            d,
            Ok(State::Waiting),
            Ok(State::Yielded(5)),
            Ok(State::Stopped(6)),
            Ok(State::Preempted),
            dead,
            d,
            d,
            Ok(State::Halted),
        ],
        [
            d,
            d,
            runs,
            d,
            Ok(State::Blocked(OTHER)),
            d,
            d,
            d,
            d,
            d,
            dead,
            off,
            d,
            d,
        ],
        [runs, d, d, d, d, d, d, d, d, d, dead, off, d, d],
        [runs, d, d, d, d, d, d, d, d, d, dead, off, d, d],
        [runs, d, d, d, d, d, d, d, d, d, dead, off, d, d],
        [a, a, a, a, a, a, a, a, a, a, dead, dead, off, a],
        [b, d, d, d, d, d, d, d, d, d, dead, off, d, d],
    ];
    for (state, expected) in STATES.into_iter().zip(expected) {
        assert_eq!(
            EVENTS.map(|event| step(state, event)),
            expected,
            "{state:?}"
        );
    }
}

#[test]
fn every_state_is_a_word_of_its_own() {
    for (n, state) in STATES.into_iter().enumerate() {
        assert_eq!(State::from_word(state.to_word()), state);
        let others = STATES.iter().skip(n + 1);
        assert!(
            others
                .into_iter()
                .all(|other| other.to_word() != state.to_word())
        );
    }
    assert_eq!(State::Off.to_word(), 0, "as memory is before boot");
    let word = State::Blocked(FORMER).to_word();
    assert_ne!(word, State::Blocked(CALLEE).to_word());
}

const fn request(message: u32) -> Model {
    Model::Request(super::Request {
        requester: PartitionId(0x8001),
        kind: super::Message::DirectReq,
        message,
    })
}

// Run-time models of FF-A v1.1 sections 8.2 to 8.5, and of v1.2 for `FFA_YIELD`.
// req: RUN-17, RUN-18, MSGW-06, MSGD-09, BOOT-18, MODEL-01, MODEL-03, MODEL-04, MODEL-05
// req: MODEL-06, MODEL-07, MODEL-08
#[test]
fn every_model_and_call() {
    const N: Result<()> = Err(Denied);
    const Y: Result<()> = Ok(());
    const CALLS: [super::Leave; 5] = [
        super::Leave::Request,
        super::Leave::Run,
        super::Leave::Respond,
        super::Leave::Wait,
        super::Leave::Yield(Version::V1_2),
    ];
    let stopped = |model: Model| model.stop(CALLEE).unwrap();
    let expected = [
        // The columns are the entries of `CALLS`, and then Yield of FF-A 1.1.
        (Model::Init, [Y, N, N, Y, N], N),
        (Model::Run, [Y, Y, N, Y, Y], Y),
        (request(0), [Y, Y, Y, N, Y], N),
        (request(framework::VM_CREATED_RESPONSE), [Y, Y, Y, N, Y], N),
        (request(framework::PSCI_RESPONSE), [N, N, Y, N, N], N),
        (request(framework::STOP_RESPONSE), [Y, Y, Y, N, N], N),
        (Model::Interrupt, [Y, N, N, Y, Y], Y),
        (stopped(Model::Run), [Y, Y, N, N, N], N),
        (stopped(request(0)), [Y, Y, N, N, N], N),
    ];
    for (model, permitted, yield_1_1) in expected {
        assert_eq!(
            CALLS.map(|call| model.permits(call)),
            permitted,
            "{model:?}"
        );
        assert_eq!(
            model.permits(super::Leave::Yield(Version::V1_1)),
            yield_1_1,
            "{model:?}"
        );
    }
}

// req: INT-08
#[test]
fn who_may_be_stopped_for_its_interrupts_and_goes_on_as_before() {
    for model in [Model::Run, request(0), request(9)] {
        let handles = model.stop(CALLEE).expect("it may be");
        assert_eq!(handles.stopped(), Some(CALLEE));
        assert_eq!((handles.stop(CALLEE), handles.resume()), (None, model));
        assert_eq!((model.stopped(), model.resume()), (None, model));
    }
    for model in [Model::Init, Model::Interrupt] {
        assert_eq!((model.stop(CALLEE), model.stopped()), (None, None));
    }
}
