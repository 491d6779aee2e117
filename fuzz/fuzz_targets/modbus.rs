//! Modbus TCP: frames cut anywhere, answers to a pending read, and values of every type.
#![no_main]

use anlan_model::modbus::{Register, Table, ValueType, WordOrder};
use anlan_protocols::modbus::client::{Client, Outcome};
use anlan_protocols::modbus::codec::{Frames, Request, Response};
use anlan_protocols::modbus::plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let table = Table::ALL[usize::from(choice) % 4];
    let request = Request::Read { table, start: u16::from(choice), count: u16::from(choice % 8) + 1 };
    let mut client = Client::new(4);
    client.send(7, 1, request, 10, &mut Vec::new());
    let mut frames = Frames::default();
    let mut outcomes = Vec::new();
    for piece in bytes.chunks(usize::from(choice % 31) + 1) {
        frames.push(piece);
        for frame in frames.by_ref().flatten() {
            assert!(!frame.pdu.is_empty() && frame.pdu.len() <= 253);
            if let Ok(asked) = Request::decode(&frame.pdu) {
                assert_eq!(asked.encode(), frame.pdu);
            }
            let _ = Response::decode(&frame.pdu);
        }
        if client.receive(piece, &mut outcomes).is_err() {
            assert_eq!(frames.next(), None);
            break;
        }
        assert!(frames.held() < 260);
    }
    for (token, outcome) in outcomes {
        assert_eq!(token, 7);
        let Outcome::Answer(response) = outcome else { continue };
        assert!(response.answers(&request));
        for kind in ValueType::ALL {
            for order in WordOrder::ALL {
                let register = Register {
                    code: String::new(),
                    table,
                    address: u16::from(choice),
                    kind: *kind,
                    bit: Some(choice),
                    order: *order,
                    scale: f64::from(choice) - 7.5,
                    offset: 1.0,
                    unit: String::new(),
                    interval_ms: 1_000,
                };
                assert!(plan::value(&register, &request, &response).is_none_or(f64::is_finite));
            }
        }
    }
});
