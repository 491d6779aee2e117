// Short names for the generated schema; nothing is retyped here. `npm run gen` makes schema.d.ts from openapi.json.
import type { components } from './schema'

type Schemas = components['schemas']

export type Level = Schemas['Level']
export type AlarmState = Schemas['AlarmState']
export type Problem = Schemas['Problem']
export type Place = Schemas['Place']
export type Grant = Schemas['Grant']
export type Me = Schemas['Me']
export type Status = Schemas['Status']
export type Session = Schemas['CurrentSession']
export type Region = Schemas['Region']
export type HourSummary = Schemas['HourCounts']
export type Summary = Schemas['Summary']
export type Enterprise = Schemas['Enterprise']
export type Device = Schemas['Device']
export type Limits = Schemas['LimitsBody']
export type JudgedLimit = Schemas['JudgedLimit']
export type Point = Schemas['Point']
export type PointLatest = Schemas['PointLatest']
export type Reading = Schemas['Reading']
export type LiveReading = Schemas['LiveReading']
export type RollupColumns = Schemas['RollupColumns']
export type Dropped = Schemas['Dropped']
export type Position = Schemas['Position']
export type Vehicle = Schemas['Vehicle']
export type MediaFile = Schemas['MediaFile']
export type TripList = Schemas['TripList']
export type RatioList = Schemas['RatioList']
export type RatioRow = Schemas['RatioRow']
export type VehicleLatest = Schemas['VehicleLatest']
export type Alarm = Schemas['Alarm']
export type AlarmPage = Schemas['AlarmList']
export type Rule = Schemas['Rule']
export type Combination = Schemas['Combination']
export type User = Schemas['User']
export type AuditEntry = Schemas['AuditEntry']
export type QuarantineEntry = Schemas['QuarantineEntry']
export type DataEvent = Schemas['Event']
export type Hold = Schemas['Hold']
export type Retention = Schemas['Retention']
export type ImportResult = Schemas['ImportReport']
export type ImportProblem = Schemas['ImportError']
export type DutyShift = Schemas['DutyShift']
export type DutyHandover = Schemas['DutyHandover']
export type DutyDesk = Schemas['DutyDesk']
export type DutyNow = Schemas['DutyNow']
export type MergeReport = Schemas['MergeReport']
export type UserDuties = Schemas['UserDuties']
export type TakeOverReport = Schemas['TakeOverReport']
export type NetNode = Schemas['Node']
export type NetInvitation = Schemas['Invitation']
export type NetInvited = Schemas['InvitationMade']
export type NetParent = Schemas['ParentState']
export type Proof = Schemas['Proof']
export type ProofDetail = Schemas['ProofDetail']
export type MeasureKind = Schemas['Kind']

/** What the map needs of the GeoJSON that /map/counties answers; the document leaves GeoJSON open. */
export interface CountyCollection {
  type: 'FeatureCollection'
  features: {
    type: 'Feature'
    properties: { code: string; name: string; name_en: string; short?: string; label: [number, number] }
    geometry: { type: 'Polygon' | 'MultiPolygon'; coordinates: unknown }
  }[]
}
