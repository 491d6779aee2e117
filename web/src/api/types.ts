// The nouns the console reads. Interim: written by hand from the API text until openapi.json stands.

export type Level = 'red' | 'orange' | 'yellow' | 'blue'
export type AlarmState = 'raised' | 'acknowledged' | 'returned' | 'closed'

export interface Problem {
  code: string
  detail: string
  field?: string | null
  params?: Record<string, unknown>
}
export interface Place {
  lon: number
  lat: number
}
export interface Grant {
  role: string
  region?: string | null
  sector?: string | null
  enterprise?: string | null
}
export interface Me {
  id: string
  username: string
  name: string
  grants: Grant[]
  permissions: string[]
}
export interface Status {
  name: string
  version: string
  demo: boolean
  test_clock: boolean
  setup_needed: boolean
  region: { code: string; name: string }
  map_attribution: string
}
export interface Session {
  user: Me
  csrf: string
  demo: boolean
  test_clock: boolean
  idle: boolean
  now: string
}
export interface Region {
  code: string
  name: string
  name_en: string
}
export interface LinkSummary {
  name: string
  connections: number
  messages_total: number
  readings_total: number
  refused_total: number
  last_at: string | null
}
export interface RegionSummary {
  code: string
  name: string
  enterprises: number
  points: number
  points_online: number
  vehicles_online: number
  red: number
  orange: number
  yellow: number
  blue: number
}
export interface HourSummary {
  at: string
  red: number
  orange: number
  yellow: number
  blue: number
}
export interface Summary {
  now: string
  counts: {
    enterprises: number
    devices: number
    points: number
    points_online: number
    points_stale: number
    vehicles: number
    vehicles_online: number
    alarms_unacknowledged: number
    alarms_open: number
    red: number
    orange: number
    yellow: number
    blue: number
  }
  regions: RegionSummary[]
  alarms_24h: HourSummary[]
  links: LinkSummary[]
  log: { position: number; projected: number; lag: number }
  degraded: boolean
}
export interface Enterprise {
  id: string
  code: string
  name: string
  region: string
  region_name: string
  sector: string
  place: Place | null
  points: number
  points_online: number
  worst_level: Level | null
  revision: number
}
export interface Device {
  id: string
  code: string
  name: string
  enterprise: string | null
  enterprise_name: string | null
  protocol: string
  gateway: boolean
  may_backfill: boolean
  disabled: boolean
  online: boolean
  last_at: string | null
  points: number
  revision: number
}
export interface Limits {
  hh?: number | null
  h?: number | null
  l?: number | null
  ll?: number | null
  deadband?: number | null
  on_delay_s?: number | null
  off_delay_s?: number | null
  rate_per_min?: number | null
}
export interface LimitsSource {
  document: string
  clause: string
}
export interface Latest {
  at: string
  received_at: string
  value: number | null
  quality: string
  flags: string[]
  stale: boolean
  age_s: number
}
export interface Point {
  id: string
  device: string
  enterprise: string | null
  enterprise_name: string | null
  site: string | null
  code: string
  name: string
  unit: string
  kind: string | null
  period_s: number
  range_low: number | null
  range_high: number | null
  limits: Limits
  limits_source: LimitsSource | null
  confirmed: boolean
  place: Place | null
  revision: number
  latest: Latest | null
}
export interface PointLatest {
  id: string
  code: string
  name: string
  unit: string
  site: string | null
  device: string
  latest: Latest | null
  level: Level | null
}
export interface Reading {
  at: string
  received_at: string
  value: number | null
  quality: string
  flags: string[]
  revision?: number
}
export interface RollupRow {
  at: string
  min: number | null
  max: number | null
  mean: number | null
  count: number
}
export interface Position {
  at: string
  received_at: string
  device_at: string | null
  lon: number
  lat: number
  altitude_m: number | null
  speed_kmh: number
  direction_deg: number
  alarm_bits: number
  status_bits: number
  flags: string[]
  acc: boolean
  fix: boolean
  items: unknown
}
export interface Vehicle {
  id: string
  phone: string
  plate: string | null
  kind: string | null
  enterprise: string | null
  enterprise_name: string | null
  region: string | null
  trust: string
  adopted: boolean
  speed_limit_kmh: number | null
  online: boolean
  revision: number
  latest: Position | null
}
export interface VehicleLatest {
  id: string
  plate: string | null
  kind?: string | null
  lon: number
  lat: number
  speed_kmh: number
  direction_deg: number
  at: string
  online: boolean
  level: Level | null
}
export interface Alarm {
  id: string
  rule: string
  kind: string
  point: string | null
  vehicle: string | null
  name: string
  unit: string | null
  enterprise: string | null
  enterprise_name: string | null
  region: string | null
  region_name: string | null
  level: Level
  state: AlarmState
  points: string[]
  value: number | null
  threshold: number | null
  source: string | null
  confidence: string | null
  onset_at: string
  raised_at: string
  acknowledged_at: string | null
  acknowledged_by: string | null
  acknowledged_note: string | null
  returned_at: string | null
  closed_at: string | null
  closed_by: string | null
  closed_reason: string | null
  historic: boolean
  trust: string | null
}
export type AlarmCounts = Record<AlarmState, number>
export interface Rule {
  id: string
  kind: string
  level: Level
  threshold?: number | null
  unit?: string | null
  applies_to: string
  standard: string
  clause: string
  effective: string
  confidence: string
  note: string | null
}
export interface User extends Me {
  disabled: boolean
  revision: number
  last_seen_at?: string | null
}
export interface AuditEntry {
  id: string
  at: string
  user: string | null
  name: string | null
  action: string
  noun: string
  subject: string
  detail: unknown
}
export interface QuarantineEntry {
  id: string
  at: string
  source: string
  protocol: string
  reason: string
  size: number
  preview_hex: string
}
export interface DataEvent {
  id: string
  at: string
  kind: string
  subject: string
  detail: unknown
}
export interface CountyCollection {
  type: 'FeatureCollection'
  features: {
    type: 'Feature'
    properties: { code: string; name: string; name_en: string; label: [number, number] }
    geometry: { type: 'Polygon' | 'MultiPolygon'; coordinates: unknown }
  }[]
  provenance?: unknown
}
