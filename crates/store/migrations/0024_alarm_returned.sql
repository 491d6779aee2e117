-- What stood at any time of a day: asked for where readings around alarms are agreed.
CREATE INDEX alarm_returned ON alarm (returned_at_us, onset_at_us);
