//! Items of the terminals that GPS51 and its relatives serve: temperatures, humidity, voltage, cells, Wi-Fi, battery.
//!
//! Source: SmallChi/JT808 (extension GPS51). Other makers use the same ids otherwise; what these rows say is a guess and is
//! shown with the raw bytes beside it.

use super::super::layout::{Count, Field, Kind, Layout, bytes, list, u8, u16, u32};
use super::Dialect;

const NAME: &str = "gps51";

pub(super) const DIALECT: Dialect = Dialect {
    items: &[
        (0x51, &Layout::of(NAME, "temperatures", &[list("temperatures", Count::ToTheEnd, &TEMPERATURE)])),
        (0x52, &Layout::of(NAME, "turning", &[u8("direction")])),
        (0x54, &Layout::of(NAME, "wifi", &[list("stations", Count::Before(1), &WIFI)])),
        (0x58, &Layout::of(NAME, "humidity", &[list("humidity", Count::ToTheEnd, &HUMIDITY)])),
        (0x61, &Layout::of(NAME, "voltage", &[u16("voltage")])),
        (0xe1, &Layout::of(NAME, "cells", &[u16("mcc"), u16("mnc"), Field::new("cell", Kind::Group(&CELL))])),
        (
            0xe1,
            &Layout::of(
                NAME,
                "cells",
                &[u16("mcc"), u16("mnc"), Field::new("cell", Kind::Group(&CELL_HEARD)), list("others", Count::ToTheEnd, &CELL_HEARD)],
            ),
        ),
        (0xe2, &Layout::of(NAME, "firmware", &[REST])),
        (0xf1, &Layout::of(NAME, "iccid", &[REST])),
        (0xf6, &Layout::of(NAME, "imei", &[REST])),
        (0xfa, &Layout::of(NAME, "alarms", &[u32("alarm_bits")])),
        (0xfb, &Layout::of(NAME, "battery", &[u8("battery_percent"), u16("battery"), u8("state")])),
    ],
    messages: &[],
    parameters: &[],
    is_guess: true,
};

const REST: Field = Field::new("text", Kind::TextRest);
const TEMPERATURE: Layout = Layout::new("temperature", &[Field::new("temperature", Kind::Signed16)]);
const HUMIDITY: Layout = Layout::new("humidity", &[u16("humidity")]);
const WIFI: Layout = Layout::new("station", &[bytes("mac", 6), u8("strength")]);
const CELL: Layout = Layout::new("cell", &[u16("lac"), u32("ci")]);
const CELL_HEARD: Layout = Layout::new("cell", &[u16("lac"), u32("ci"), u8("strength")]);
