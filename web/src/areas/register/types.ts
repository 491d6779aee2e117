// Short names of the schema's registers, and what it leaves open: the values in the fields of a record.
import type { components } from '@/api/schema'

type Schemas = components['schemas']

export type Register = Schemas['Register']
export type RegisterSummary = Schemas['RegisterSummary']
/** A field of a kind, or a column of a table field. */
export type Field = Schemas['RegisterField']
export type State = Schemas['RegisterState']
/** A block of a printed record. */
export type Block = Schemas['RegisterBlock']
export type Transition = Schemas['RegisterTransition']
/** A file of a record, or one that waits for it. */
export type Attachment = Schemas['Attachment']
/** A record that another names. */
export type RecordReference = Schemas['RecordReference']
/** A person, record or file at the former home of a record. */
export type NamedElsewhere = Schemas['NamedElsewhere']
export type Person = Schemas['Person']
export type Notification = Schemas['Notification']
export type NotificationPage = Schemas['NotificationList']
export type TaskPage = Schemas['TaskList']
export type Task = Schemas['Task']
export type Pack = Schemas['Pack']
export type ExportJob = Schemas['ExportJob']

export interface PlaceValue {
  lon: number
  lat: number
}
export type Row = Record<string, string | number | null>
export type Value = string | number | PlaceValue | Row[] | string[] | null
export type Fields = Record<string, Value | undefined>

/** A record without its fields, as lists of other pages carry it. */
export type RecordHead = Omit<Schemas['Record'], 'fields'>
export type RegisterRecord = RecordHead & { fields: Fields }
export type RecordDetail = Omit<Schemas['RecordDetail'], 'fields' | 'children'> & { fields: Fields; children: RecordHead[] }
export type RecordPage = Omit<Schemas['RecordList'], 'records'> & {
  records: RegisterRecord[]
  /** Names of the people in the fields of this page, by id. */
  people?: Record<string, string>
}
/** A step of a deadline that was told. */
export interface Reminder {
  /** Days after the deadline; negative = before. */
  after?: number
  /** Of a clock beside it: minutes after its last one in time. */
  after_min?: number
  to: string[]
  /** The one person told beside the roles. */
  person?: string | null
  people: number
}
export type HistoryEntry = Omit<Schemas['HistoryEntry'], 'changes' | 'steps'> & { changes: Record<string, [Value, Value]>; steps: Reminder[] }
