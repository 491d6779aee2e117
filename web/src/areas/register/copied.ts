// Reading a copy of another node's record: its fields say names instead of ids, and its register may be another version of the one here.
// Pure. Start at [`copiedKind`].
import { nameIn } from './kind'
import type { Field, Fields, NamedElsewhere, Register, RegisterRecord, Value } from './types'

/** Words for what a file is called and what it is. */
export interface FileWords {
  name: string
  bytes: string
  hash: string
}

const plain = (id: string, name: string, name_en: string, type: Field['type']): Field => ({
  id,
  name,
  name_en,
  type,
  hint: '',
  hint_en: '',
  max: null,
  min: null,
  unit: '',
  choices: [],
  columns: [],
  rows_max: 0,
  of: '',
  accept: [],
  computed: false,
  exchange: null,
  source: '',
  source_confidence: '',
})
const isRows = (value: Value | undefined) => Array.isArray(value) && value.every((row) => typeof row === 'object' && row !== null)
const isPlace = (value: Value | undefined) => !!value && typeof value === 'object' && 'lon' in value && typeof value.lon === 'number' && typeof value.lat === 'number'

/** The field as what a copy has in it: people and records are texts, files are rows; what has another shape than here is shown as it is. */
export function copiedField(field: Field, value: Value | undefined, words: FileWords): Field {
  const text: Field = { ...field, type: 'text', columns: [] }
  switch (field.type) {
    case 'person':
    case 'record':
      return text
    case 'file':
      if (!isRows(value)) return text
      return { ...field, type: 'table', columns: [plain('name', words.name, words.name, 'text'), { ...plain('bytes', words.bytes, words.bytes, 'number'), unit: 'B' }, plain('sha256', words.hash, words.hash, 'text')] }
    case 'table':
      return isRows(value) ? field : text
    case 'place':
      return isPlace(value) ? field : text
    default:
      return typeof value === 'object' ? text : field
  }
}

/** A field of a record that was handed over: records of before are texts, files of before stand apart, since their bytes are where they were. */
export function fromBefore(field: Field, value: Value | undefined, elsewhere: Readonly<Record<string, NamedElsewhere>>): { field: Field; value: Value | undefined; files: NamedElsewhere[] } {
  if (field.type === 'record' && typeof value === 'string' && elsewhere[value]) return { field: { ...field, type: 'text' }, value: elsewhere[value].name, files: [] }
  if (field.type === 'file' && Array.isArray(value)) {
    const there = (id: unknown) => (typeof id === 'string' ? elsewhere[id] : undefined)
    return { field, value: value.filter((id) => !there(id)) as Value, files: value.map(there).filter((file) => file !== undefined) }
  }
  return { field, value, files: [] }
}

/** The register as a copy is read by: each field as what is in it, and those that are not known here by their words. */
export function copiedKind(kind: Register, fields: Fields, words: FileWords): Register {
  const known = kind.fields.map((field) => copiedField(field, fields[field.id], words))
  const others = Object.keys(fields).filter((id) => !kind.fields.some((field) => field.id === id))
  return { ...kind, fields: [...known, ...others.sort().map((id) => plain(id, id, id, 'text'))] }
}

/** What the state of a record is called: here, else at its home, else its word. */
export function stateName(kind: Register, record: Pick<RegisterRecord, 'state' | 'home'>, locale: string): string {
  const state = kind.states.find((s) => s.id === record.state)
  if (state) return nameIn(locale, state)
  const { state_name: name = '', state_name_en: name_en = '' } = record.home ?? {}
  return nameIn(locale, { name, name_en }) || record.state
}
