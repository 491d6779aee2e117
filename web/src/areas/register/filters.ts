// The filters of a register list: the address bar and the API use the same words, so that a link is the view.
// Pure. Start at [`readFilters`] and [`writeFilters`].
import { fieldOf } from './kind'
import type { Field, Register } from './types'

export interface FieldFilter {
  value: string
  from: string
  to: string
}
export interface Filters {
  q: string
  state: string
  enterprise: string
  region: string
  parent: string
  due_before: string
  open: boolean
  overdue: boolean
  mine: boolean
  retention_over: boolean
  fields: Record<string, FieldFilter>
}
const DATE = /^\d{4}-\d{2}-\d{2}$/
const first = (value: unknown): string => {
  const one: unknown = Array.isArray(value) ? value[0] : value
  return typeof one === 'string' ? one : ''
}
const within = (field: Field, text: string): string => {
  if (field.type === 'date' || field.type === 'datetime') return DATE.test(text) ? text : ''
  return text.trim() !== '' && Number.isFinite(Number(text)) ? text.trim() : ''
}
/** Whether a field is narrowed by from and to, not by one value. */
export const ranged = (field: Field) => field.type === 'date' || field.type === 'datetime' || field.type === 'number'

/** Fields of a kind that a list can be narrowed by. */
export const filterFields = (kind: Register): Field[] => kind.filter.map((id) => fieldOf(kind, id)).filter((f): f is Field => f !== undefined)

/** Filters from an address; what the kind does not know is left out, since the server would refuse it. */
export function readFilters(query: Record<string, unknown>, kind: Register): Filters {
  const fields: Record<string, FieldFilter> = {}
  for (const field of filterFields(kind)) {
    const key = `f.${field.id}`
    if (ranged(field)) {
      fields[field.id] = { value: '', from: within(field, first(query[`${key}.from`])), to: within(field, first(query[`${key}.to`])) }
      continue
    }
    const value = first(query[key])
    fields[field.id] = { value: field.type === 'choice' && !field.choices.some((c) => c.id === value) ? '' : value, from: '', to: '' }
  }
  const state = first(query.state)
  const due = first(query.due_before)
  return {
    q: first(query.q).trim(),
    state: kind.states.some((s) => s.id === state) ? state : '',
    enterprise: first(query.enterprise),
    region: first(query.region),
    parent: first(query.parent),
    due_before: DATE.test(due) ? due : '',
    open: first(query.open) === 'true',
    overdue: first(query.overdue) === 'true',
    mine: first(query.mine) === 'true',
    retention_over: first(query.retention_over) === 'true',
    fields,
  }
}

/** The same filters as query words, for the address and for the API; empty ones are left out. */
export function writeFilters(filters: Filters): Record<string, string> {
  const out: Record<string, string> = {}
  for (const key of ['q', 'state', 'enterprise', 'region', 'parent', 'due_before'] as const) if (filters[key]) out[key] = filters[key]
  for (const key of ['open', 'overdue', 'mine', 'retention_over'] as const) if (filters[key]) out[key] = 'true'
  for (const [id, f] of Object.entries(filters.fields)) {
    if (f.value) out[`f.${id}`] = f.value
    if (f.from) out[`f.${id}.from`] = f.from
    if (f.to) out[`f.${id}.to`] = f.to
  }
  return out
}

/** How many field filters are set; they may be folded away. */
export const fieldFilterCount = (filters: Filters) => Object.values(filters.fields).filter((f) => f.value || f.from || f.to).length

/** A new record that another page asks for: by which step, whose, filled in with what. */
export interface NewRecord {
  transition: string
  enterprise: string
  region: string
  fields: Record<string, string>
}

/** What `new`, `of.enterprise`, `of.region` and `set.FIELD` in an address say; the form checks it as if it had been typed. */
export function newRecord(query: Record<string, unknown>): NewRecord | null {
  const transition = first(query.new)
  if (!transition) return null
  const fields = Object.fromEntries(Object.entries(query).flatMap(([key, value]) => (key.startsWith('set.') ? [[key.slice(4), first(value)]] : [])))
  return { transition, enterprise: first(query['of.enterprise']), region: first(query['of.region']), fields }
}
