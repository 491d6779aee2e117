//! Terminal parameters of 0x8103 and 0x0104: what each id is called and how its value is written.
//!
//! Data only. Source: JT/T 808-2013 table 12; 0x23 to 0x26 and 0x32 are of 2019. Parameters of other standards stand in
//! [`super::dialects`]. Start at [`of`].

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned number of this many bytes.
    Number(usize),
    /// This many bytes.
    Bytes(usize),
    /// GBK text.
    Text,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// As on the wire.
    pub id: u32,
    /// Stable short name, unit last.
    pub name: &'static str,
    /// How its value is written.
    pub kind: Kind,
}

/// What the standard says about an id.
pub fn of(id: u32) -> Option<Known> {
    PARAMETERS.binary_search_by_key(&id, |p| p.id).ok().and_then(|i| PARAMETERS.get(i)).copied()
}

/// How many bytes the standard gives a parameter; `None` for texts and unknown ids.
pub(crate) fn width(id: u32) -> Option<usize> {
    match of(id)?.kind {
        Kind::Number(n) | Kind::Bytes(n) => Some(n),
        Kind::Text => None,
    }
}

const fn n4(id: u32, name: &'static str) -> Known {
    Known { id, name, kind: Kind::Number(4) }
}
const fn n2(id: u32, name: &'static str) -> Known {
    Known { id, name, kind: Kind::Number(2) }
}
const fn n1(id: u32, name: &'static str) -> Known {
    Known { id, name, kind: Kind::Number(1) }
}
const fn text(id: u32, name: &'static str) -> Known {
    Known { id, name, kind: Kind::Text }
}
const fn bytes(id: u32, name: &'static str, n: usize) -> Known {
    Known { id, name, kind: Kind::Bytes(n) }
}

/// By ascending id.
const PARAMETERS: &[Known] = &[
    n4(0x01, "heartbeat_interval_s"),
    n4(0x02, "tcp_answer_timeout_s"),
    n4(0x03, "tcp_retries"),
    n4(0x04, "udp_answer_timeout_s"),
    n4(0x05, "udp_retries"),
    n4(0x06, "sms_answer_timeout_s"),
    n4(0x07, "sms_retries"),
    text(0x10, "main_apn"),
    text(0x11, "main_dial_user"),
    text(0x12, "main_dial_password"),
    text(0x13, "main_host"),
    text(0x14, "backup_apn"),
    text(0x15, "backup_dial_user"),
    text(0x16, "backup_dial_password"),
    text(0x17, "backup_host"),
    n4(0x18, "tcp_port"),
    n4(0x19, "udp_port"),
    text(0x1a, "ic_card_main_host"),
    n4(0x1b, "ic_card_tcp_port"),
    n4(0x1c, "ic_card_udp_port"),
    text(0x1d, "ic_card_backup_host"),
    n4(0x20, "report_strategy"),
    n4(0x21, "report_scheme"),
    n4(0x22, "report_interval_no_driver_s"),
    text(0x23, "slave_apn"),
    text(0x24, "slave_dial_user"),
    text(0x25, "slave_dial_password"),
    text(0x26, "slave_host"),
    n4(0x27, "report_interval_asleep_s"),
    n4(0x28, "report_interval_alarm_s"),
    n4(0x29, "report_interval_s"),
    n4(0x2c, "report_distance_m"),
    n4(0x2d, "report_distance_no_driver_m"),
    n4(0x2e, "report_distance_asleep_m"),
    n4(0x2f, "report_distance_alarm_m"),
    n4(0x30, "report_angle_deg"),
    n2(0x31, "fence_radius_m"),
    bytes(0x32, "forbidden_hours_hhmm", 4),
    text(0x40, "platform_phone"),
    text(0x41, "reset_phone"),
    text(0x42, "factory_phone"),
    text(0x43, "sms_phone"),
    text(0x44, "sms_alarm_phone"),
    n4(0x45, "answer_strategy"),
    n4(0x46, "call_max_s"),
    n4(0x47, "call_month_max_s"),
    text(0x48, "listen_phone"),
    text(0x49, "privileged_sms_phone"),
    n4(0x50, "alarm_mask_bits"),
    n4(0x51, "alarm_sms_bits"),
    n4(0x52, "alarm_photo_bits"),
    n4(0x53, "alarm_photo_keep_bits"),
    n4(0x54, "alarm_key_bits"),
    n4(0x55, "speed_max_kmh"),
    n4(0x56, "overspeed_s"),
    n4(0x57, "driving_max_s"),
    n4(0x58, "driving_day_max_s"),
    n4(0x59, "rest_min_s"),
    n4(0x5a, "parking_max_s"),
    n2(0x5b, "overspeed_warning_tenth_kmh"),
    n2(0x5c, "fatigue_warning_s"),
    n2(0x5d, "collision"),
    n2(0x5e, "rollover_deg"),
    n4(0x64, "photo_timer_bits"),
    n4(0x65, "photo_distance_bits"),
    n4(0x70, "image_quality"),
    n4(0x71, "brightness"),
    n4(0x72, "contrast"),
    n4(0x73, "saturation"),
    n4(0x74, "chroma"),
    n4(0x80, "odometer_tenth_km"),
    n2(0x81, "province"),
    n2(0x82, "city"),
    text(0x83, "plate"),
    n1(0x84, "plate_colour"),
    n1(0x90, "gnss_mode_bits"),
    n1(0x91, "gnss_baud"),
    n1(0x92, "gnss_output_rate"),
    n4(0x93, "gnss_sample_interval_s"),
    n1(0x94, "gnss_upload"),
    n4(0x95, "gnss_upload_setting"),
    n4(0x100, "can_1_sample_interval_ms"),
    n2(0x101, "can_1_upload_interval_s"),
    n4(0x102, "can_2_sample_interval_ms"),
    n2(0x103, "can_2_upload_interval_s"),
    bytes(0x110, "can_id_sampling", 8),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_found() {
        assert!(PARAMETERS.is_sorted_by(|a, b| a.id < b.id));
        assert!(PARAMETERS.iter().all(|p| of(p.id) == Some(*p)));
        assert_eq!(of(0x08), None);
        assert_eq!(width(0x110), Some(8));
        assert_eq!(width(0x13), None);
    }
}
