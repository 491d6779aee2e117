//! Which registers go into one read, and what a value is once the read is answered.
//!
//! Pure. A read never crosses a forbidden address, never covers more than the map's gap of unnamed ones in a row, and never cuts a
//! value in two. Start at [`reads`] and [`value`].

use std::ops::Range;

use anlan_model::modbus::{ModbusMap, Register, Table, ValueType, WordOrder};

use super::codec::{Request, Response, count_max};

/// One read of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What to ask.
    pub request: Request,
    /// Milliseconds from one poll to the next; the same for all its registers.
    pub interval_ms: u64,
    /// Places of the values in the map's list.
    pub registers: Vec<usize>,
}

/// The reads of a device, each register in exactly one of them, in order of interval, table and address.
///
/// As few as possible: registers of one table and interval are joined while the rules above allow it.
pub fn reads(map: &ModbusMap) -> Vec<Read> {
    let mut order: Vec<usize> = (0..map.registers.len()).collect();
    let key = |i: usize| {
        let r = &map.registers[i];
        (r.interval_ms, r.table, r.address)
    };
    order.sort_by_key(|&i| key(i));
    let mut done: Vec<Read> = Vec::new();
    for i in order {
        let r = &map.registers[i];
        // Past the end of the address space nothing can be read; validation refuses such a map.
        let span = u32::from(r.address)..u32::from(r.address) + u32::from(r.kind.width());
        if let Some(read) = done.last_mut()
            && read.interval_ms == r.interval_ms
            && let Request::Read { table, start, count } = &mut read.request
            && *table == r.table
            && let Some(joined) = join(map, r.table, u32::from(*start)..u32::from(*start) + u32::from(*count), &span)
        {
            *count = joined;
            read.registers.push(i);
            continue;
        }
        let request = Request::Read { table: r.table, start: r.address, count: r.kind.width() };
        done.push(Read { request, interval_ms: r.interval_ms, registers: vec![i] });
    }
    done
}

/// The count of a read over `have` and `more`, if one may cover both.
fn join(map: &ModbusMap, table: Table, have: Range<u32>, more: &Range<u32>) -> Option<u16> {
    let between = have.end..more.start;
    let forbidden = map.forbidden.iter().any(|f| f.table == table && u32::from(f.from) < between.end && u32::from(f.to) >= between.start);
    if between.end > between.start && (between.end - between.start > u32::from(map.gap) || forbidden) {
        return None;
    }
    let count = u16::try_from(have.end.max(more.end) - have.start).ok()?;
    (count <= count_max(table)).then_some(count)
}

/// The value of `register` in the answer to `read`; `None` if the answer does not hold it or it is no finite number.
pub fn value(register: &Register, read: &Request, response: &Response) -> Option<f64> {
    let Request::Read { start, .. } = read else { return None };
    let at = usize::from(register.address.checked_sub(*start)?);
    let raw = match response {
        Response::Bits(bytes) => f64::from(bytes.get(at / 8)? >> (at % 8) & 1),
        Response::Registers(words) => number(register, words.get(at..at + usize::from(register.kind.width()))?)?,
        Response::Identity(_) | Response::Exception { .. } => return None,
    };
    Some(raw * register.scale + register.offset).filter(|v| v.is_finite())
}

fn number(register: &Register, words: &[u16]) -> Option<f64> {
    // First word first, high byte first; then the device's order on top of it.
    let swap_words = matches!(register.order, WordOrder::Cdab | WordOrder::Dcba);
    let swap_bytes = matches!(register.order, WordOrder::Badc | WordOrder::Dcba);
    let word = |i: usize| {
        let w = words[if swap_words { words.len() - 1 - i } else { i }];
        if swap_bytes { w.swap_bytes() } else { w }
    };
    let bits = (0..words.len()).fold(0_u64, |bits, i| bits << 16 | u64::from(word(i)));
    Some(match register.kind {
        ValueType::Bool => f64::from(u8::from(bits >> register.bit?.min(15) & 1 == 1)),
        ValueType::U16 | ValueType::U32 | ValueType::U64 => bits as f64,
        ValueType::I16 => f64::from(bits as u16 as i16),
        ValueType::I32 => f64::from(bits as u32 as i32),
        ValueType::I64 => bits as i64 as f64,
        ValueType::F32 => f64::from(f32::from_bits(bits as u32)),
        ValueType::F64 => f64::from_bits(bits),
    })
}

#[cfg(test)]
mod tests {
    use anlan_model::modbus::Forbidden;

    use super::*;

    fn register(table: Table, address: u16, kind: ValueType) -> Register {
        let bit = (kind == ValueType::Bool && !table.is_bits()).then_some(0);
        let (order, unit) = (WordOrder::Abcd, String::new());
        Register {
            code: format!("{}-{address}", table.as_str()),
            table,
            address,
            kind,
            bit,
            order,
            scale: 1.0,
            offset: 0.0,
            unit,
            interval_ms: 1_000,
        }
    }

    fn map(gap: u16, forbidden: Vec<Forbidden>, registers: Vec<Register>) -> ModbusMap {
        ModbusMap { address: ([127, 0, 0, 1], 502).into(), unit: 1, timeout_ms: 1_000, gap, forbidden, registers }
    }

    /// The reads as `function start+count`.
    fn check(map: &ModbusMap, want: &[&str]) {
        let text = |r: &Read| match r.request {
            Request::Read { start, count, .. } => format!("{} {start}+{count}", r.request.function()),
            Request::Identify { .. } => "identify".to_owned(),
        };
        assert_eq!(reads(map).iter().map(text).collect::<Vec<_>>(), want);
    }

    #[test]
    fn neighbours_are_joined_up_to_the_gap_and_never_across_what_is_forbidden() {
        let at = |addresses: &[u16]| addresses.iter().map(|a| register(Table::Holding, *a, ValueType::U16)).collect::<Vec<_>>();
        check(&map(0, vec![], at(&[2, 0, 1])), &["3 0+3"]);
        check(&map(0, vec![], at(&[0, 2])), &["3 0+1", "3 2+1"]);
        check(&map(1, vec![], at(&[0, 2, 5])), &["3 0+3", "3 5+1"]);
        let wall = |table, from, to| vec![Forbidden { table, from, to }];
        check(&map(9, wall(Table::Holding, 1, 1), at(&[0, 2])), &["3 0+1", "3 2+1"]);
        check(&map(9, wall(Table::Input, 1, 1), at(&[0, 2])), &["3 0+3"]);
        check(&map(9, wall(Table::Holding, 3, 9), at(&[0, 2])), &["3 0+3"]);
    }

    #[test]
    fn a_read_stays_within_the_standards_limits_and_cuts_no_value() {
        let wide: Vec<_> = (0..63).map(|n| register(Table::Input, n * 2, ValueType::F32)).collect();
        check(&map(0, vec![], wide), &["4 0+124", "4 124+2"]);
        let bits: Vec<_> = (0..2_001).map(|n| register(Table::Coil, n, ValueType::Bool)).collect();
        check(&map(0, vec![], bits), &["1 0+2000", "1 2000+1"]);
        check(&map(0, vec![], vec![register(Table::Input, 65_532, ValueType::F64)]), &["4 65532+4"]);
    }

    #[test]
    fn tables_and_intervals_are_read_apart() {
        let slow = Register { interval_ms: 60_000, ..register(Table::Holding, 1, ValueType::U16) };
        let all = vec![register(Table::Holding, 0, ValueType::U16), slow, register(Table::Discrete, 2, ValueType::Bool)];
        check(&map(9, vec![], all), &["2 2+1", "3 0+1", "3 1+1"]);
    }

    #[test]
    fn two_values_in_one_register_share_it() {
        let bit = |n| Register { bit: Some(n), ..register(Table::Holding, 7, ValueType::Bool) };
        let map = map(0, vec![], vec![bit(0), bit(15), register(Table::Holding, 7, ValueType::U16)]);
        check(&map, &["3 7+1"]);
        let read = reads(&map).remove(0);
        let response = Response::Registers(vec![0x8000]);
        let values: Vec<_> = map.registers.iter().map(|r| value(r, &read.request, &response)).collect();
        assert_eq!(values, [Some(0.0), Some(1.0), Some(32_768.0)]);
    }

    #[test]
    fn each_type_and_order_reads_what_the_device_means() {
        let check = |kind, order, words: &[u16], want: Option<f64>| {
            let register = Register { order, ..register(Table::Input, 10, kind) };
            let read = Request::Read { table: Table::Input, start: 9, count: words.len() as u16 + 1 };
            let words = [&[0xffff], words].concat();
            assert_eq!(value(&register, &read, &Response::Registers(words)), want, "{kind:?} {order:?}");
        };
        use ValueType::*;
        use WordOrder::*;
        // 12.5 is 0x41480000, −2 is 0xfffffffe.
        check(F32, Abcd, &[0x4148, 0x0000], Some(12.5));
        check(F32, Cdab, &[0x0000, 0x4148], Some(12.5));
        check(F32, Badc, &[0x4841, 0x0000], Some(12.5));
        check(F32, Dcba, &[0x0000, 0x4841], Some(12.5));
        check(I32, Cdab, &[0xfffe, 0xffff], Some(-2.0));
        check(U32, Abcd, &[0x0001, 0x0002], Some(65_538.0));
        check(U16, Abcd, &[0x0102], Some(258.0));
        check(U16, Dcba, &[0x0102], Some(513.0));
        check(I16, Abcd, &[0xffff], Some(-1.0));
        check(U64, Cdab, &[4, 3, 2, 1], Some((1_u64 << 48 | 2 << 32 | 3 << 16 | 4) as f64));
        check(I64, Abcd, &[0xffff, 0xffff, 0xffff, 0xfffd], Some(-3.0));
        check(F64, Dcba, &[0, 0, 0, 0x2940], Some(12.5));
        check(F32, Abcd, &[0x7fc0, 0x0000], None);
        check(F32, Abcd, &[0x4148], None);
    }

    #[test]
    fn scale_and_offset_turn_counts_into_a_quantity() {
        let register = Register { scale: 0.1, offset: -40.0, ..register(Table::Input, 0, ValueType::U16) };
        let read = Request::Read { table: Table::Input, start: 0, count: 1 };
        assert_eq!(value(&register, &read, &Response::Registers(vec![650])), Some(25.0));
        let huge = Register { scale: f64::MAX, ..register };
        assert_eq!(value(&huge, &read, &Response::Registers(vec![650])), None);
    }
}
