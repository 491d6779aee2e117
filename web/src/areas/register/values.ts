// What a person types, and the values it stands for. A form keeps text, so that nothing typed is ever lost or guessed.
// Pure. Start at [`draftOf`], [`check`] and [`changes`].
import { parseNumber } from '@/areas/admin/number'
import { type FormItem, isEmpty } from './kind'
import type { Field, Fields, PlaceValue, Row, Value } from './types'

export interface PlaceDraft {
  lon: string
  lat: string
}
export interface RowDraft {
  /** Of this form only, to tell rows apart while they move. */
  key: number
  cells: Record<string, string>
}
/** Files that are uploaded. */
export interface FilesDraft {
  ids: string[]
}
export type DraftValue = string | PlaceDraft | FilesDraft | RowDraft[]
export type Draft = Record<string, DraftValue>
/** Longer text gets more than one line. */
export const LINE_MAX = 200

let keys = 0
export const blankRow = (field: Field): RowDraft => ({ key: ++keys, cells: Object.fromEntries(field.columns.map((c) => [c.id, ''])) })
const cellText = (value: unknown) => (value === null || value === undefined ? '' : String(value))

export function draftOf(field: Field, value: Value | undefined): DraftValue {
  if (field.type === 'place') {
    const place = value as PlaceValue | null | undefined
    return { lon: cellText(place?.lon), lat: cellText(place?.lat) }
  }
  if (field.type === 'table') {
    return (Array.isArray(value) ? (value as Row[]) : []).map((row) => {
      const draft = blankRow(field)
      for (const column of field.columns) draft.cells[column.id] = cellText(row[column.id])
      return draft
    })
  }
  if (field.type === 'file') return { ids: Array.isArray(value) ? (value as string[]) : [] }
  return cellText(value)
}

/** What a form starts with: the record's values, but nothing where the step asks anew. */
export const draftOfForm = (items: readonly FormItem[], fields: Fields): Draft =>
  Object.fromEntries(items.map(({ field, fresh }) => [field.id, draftOf(field, fresh ? undefined : fields[field.id])]))

export const asText = (draft: DraftValue | undefined): string => (typeof draft === 'string' ? draft : '')
export const asPlace = (draft: DraftValue | undefined): PlaceDraft => (draft && typeof draft === 'object' && 'lon' in draft ? draft : { lon: '', lat: '' })
export const asFiles = (draft: DraftValue | undefined): string[] => (draft && typeof draft === 'object' && 'ids' in draft ? draft.ids : [])
export const asRows = (draft: DraftValue | undefined): RowDraft[] => (Array.isArray(draft) ? draft : [])

function scalar(field: Field, text: string): string | number | null {
  if (field.type === 'number') {
    const number = parseNumber(text)
    return typeof number === 'number' ? number : null
  }
  return text.trim() || null
}
const rowFilled = (row: RowDraft) => Object.values(row.cells).some((c) => c.trim())

/** The value of a checked draft; `null` = nothing. Rows with nothing in them are none. */
export function valueOf(field: Field, draft: DraftValue | undefined): Value {
  if (field.type === 'place') {
    const { lon, lat } = asPlace(draft)
    const [x, y] = [parseNumber(lon), parseNumber(lat)]
    return typeof x === 'number' && typeof y === 'number' ? { lon: x, lat: y } : null
  }
  if (field.type === 'table') {
    const rows = asRows(draft)
      .filter(rowFilled)
      .map((row) => {
        const out: Row = {}
        for (const column of field.columns) {
          const value = scalar(column, row.cells[column.id] ?? '')
          if (value !== null) out[column.id] = value
        }
        return out
      })
    return rows.length ? rows : null
  }
  if (field.type === 'file') {
    const ids = asFiles(draft)
    return ids.length ? ids : null
  }
  return scalar(field, asText(draft))
}

export type Fault = 'missing' | 'number' | 'low' | 'high' | 'long' | 'place' | 'rows' | 'files'
export interface Problem {
  /** Name of the control in the form: `due_on`, `place-lat`, `materials-2-quantity`. */
  name: string
  field: Field
  fault: Fault
  /** The bound that was passed. */
  bound?: number
  /** Row, counted from 1, of a table. */
  row?: number
}

function scalarFault(field: Field, text: string): { fault: Fault; bound?: number } | null {
  if (field.type === 'number') {
    const number = parseNumber(text)
    if (number === 'wrong') return { fault: 'number' }
    if (number === null) return null
    if (typeof field.min === 'number' && number < field.min) return { fault: 'low', bound: field.min }
    if (typeof field.max === 'number' && number > field.max) return { fault: 'high', bound: field.max }
    return null
  }
  // The server counts characters, not UTF-16 units.
  if (field.type === 'text' && typeof field.max === 'number' && [...text.trim()].length > field.max) return { fault: 'long', bound: field.max }
  return null
}

/** What can be said before asking the server; it has the last word. */
export function check(items: readonly FormItem[], draft: Draft): Problem[] {
  const found: Problem[] = []
  for (const { field, required } of items) {
    const typed = draft[field.id]
    if (field.type === 'place') {
      const { lon, lat } = asPlace(typed)
      const [x, y] = [parseNumber(lon), parseNumber(lat)]
      if (x === null && y === null) {
        if (required) found.push({ name: field.id, field, fault: 'missing' })
        continue
      }
      if (typeof x !== 'number' || Math.abs(x) > 180) found.push({ name: field.id, field, fault: 'place' })
      else if (typeof y !== 'number' || Math.abs(y) > 90) found.push({ name: `${field.id}-lat`, field, fault: 'place' })
      continue
    }
    if (field.type === 'table') {
      const rows = asRows(typed)
      const most = field.rows_max
      if (required && !rows.some(rowFilled)) found.push({ name: field.id, field, fault: 'missing' })
      if (rows.length > most) found.push({ name: field.id, field, fault: 'rows', bound: most })
      rows.forEach((row, i) => {
        for (const column of field.columns) {
          const fault = scalarFault(column, row.cells[column.id] ?? '')
          if (fault) found.push({ name: `${field.id}-${i}-${column.id}`, field: column, row: i + 1, ...fault })
        }
      })
      continue
    }
    if (field.type === 'file') {
      const n = asFiles(typed).length
      if (required && !n) found.push({ name: field.id, field, fault: 'missing' })
      if (typeof field.max === 'number' && n > field.max) found.push({ name: field.id, field, fault: 'files', bound: field.max })
      continue
    }
    const text = asText(typed)
    if (required && !text.trim()) found.push({ name: field.id, field, fault: 'missing' })
    const fault = scalarFault(field, text)
    if (fault) found.push({ name: field.id, field, ...fault })
  }
  return found
}

const same = (a: Value | undefined, b: Value | undefined) => (isEmpty(a) && isEmpty(b)) || JSON.stringify(a ?? null) === JSON.stringify(b ?? null)

/** Fields to send: every required one, and of the others what differs from `before`; `null` empties a field. */
export function changes(items: readonly FormItem[], draft: Draft, before: Fields): Record<string, Value> {
  const out: Record<string, Value> = {}
  for (const { field, required } of items) {
    const value = valueOf(field, draft[field.id])
    if (required || !same(value, before[field.id])) out[field.id] = value
  }
  return out
}

/** The draft on a newer record: what was typed stays, what was not touched follows the record. */
export function rebase(items: readonly FormItem[], draft: Draft, before: Fields, after: Fields): Draft {
  const out: Draft = {}
  for (const { field, fresh } of items) {
    const typed = draft[field.id]
    const touched = typed !== undefined && JSON.stringify(valueOf(field, typed)) !== JSON.stringify(valueOf(field, draftOf(field, before[field.id])))
    out[field.id] = typed !== undefined && (fresh || touched) ? typed : draftOf(field, after[field.id])
  }
  return out
}

/** Our control's name for the server's path: `fields.rows[2].quantity` and `fields.rows.2.quantity` → `rows-2-quantity`. */
export function controlName(path: string | null): string | null {
  if (!path) return null
  const parts = path.replace(/\[(\d+)\]/g, '.$1').split('.').filter(Boolean)
  const own = parts[0] === 'fields' ? parts.slice(1) : parts
  if (!own.length) return null
  // The first control of a place bears the field's own name.
  if (own.length === 2 && own[1] === 'lon') return own[0]!
  return own.join('-')
}
