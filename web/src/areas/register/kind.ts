// Reading a kind of register: names in the reader's language, what a form asks, what belongs together on a page.
// Pure; never fetches. Start at [`formItems`] and [`groups`].
import type { Field, HistoryEntry, PlaceValue, Register, State, Transition, Value } from './types'

export const nameIn = (locale: string, item: { name: string; name_en: string }) => (locale === 'en' ? item.name_en || item.name : item.name)
export const hintIn = (locale: string, field: Field) => (locale === 'en' ? field.hint_en || field.hint : field.hint) || undefined

export const fieldOf = (kind: Register, id: string): Field | undefined => kind.fields.find((f) => f.id === id)
export const stateOf = (kind: Register, id: string): State | undefined => kind.states.find((s) => s.id === id)
export const transitionOf = (kind: Register, id: string): Transition | undefined => kind.transitions.find((t) => t.id === id)

/** Transitions that make a record, as far as one of `roles` may take them. */
export function startTransitions(kind: Register, roles: readonly string[]): Transition[] {
  return kind.transitions.filter((t) => t.from.includes(kind.start) && t.who.some((w) => roles.includes(w)))
}

export interface FormItem {
  field: Field
  required: boolean
  /** To be said anew, whatever an earlier step said. */
  fresh: boolean
}
/** What the form of a transition asks, in the kind's order of fields; computed fields are never asked. */
export function formItems(kind: Register, transition: Transition): FormItem[] {
  return kind.fields
    .filter((f) => !f.computed && (transition.require.includes(f.id) || transition.may.includes(f.id)))
    .map((field) => ({ field, required: transition.require.includes(field.id), fresh: transition.fresh.includes(field.id) }))
}

export interface Group {
  /** The transition that asks these fields first; `null` = none does; `computed` = nobody does. */
  by: Transition | 'computed' | null
  fields: Field[]
}
/** Fields of a record as they come into being: by the first transition that asks each, then computed ones, then the rest. */
export function groups(kind: Register): Group[] {
  const left = new Set(kind.fields.map((f) => f.id))
  const found: Group[] = []
  const take = (by: Group['by'], of: (f: Field) => boolean) => {
    const fields = kind.fields.filter((f) => left.has(f.id) && of(f))
    for (const f of fields) left.delete(f.id)
    if (fields.length) found.push({ by, fields })
  }
  const computed = kind.fields.filter((f) => f.computed)
  for (const f of computed) left.delete(f.id)
  for (const t of kind.transitions) take(t, (f) => t.require.includes(f.id) || t.may.includes(f.id))
  for (const f of computed) left.add(f.id)
  take('computed', (f) => f.computed === true)
  take(null, () => true)
  return found
}

export const isEmpty = (value: Value | undefined): boolean => value === null || value === undefined || value === '' || (Array.isArray(value) && value.length === 0)

/** A figure with all the digits it was given, thousands separated. */
export const figure = (value: number) => value.toLocaleString('en-US', { maximumFractionDigits: 9 })

export interface Words {
  locale: string
  people: Record<string, string>
  rows: (n: number) => string
  files: (n: number) => string
}
/** A value as a reader sees it; "—" for nothing. Never an id where there is a name. */
export function valueText(field: Field, value: Value | undefined, words: Words): string {
  if (isEmpty(value)) return '—'
  switch (field.type) {
    case 'number': {
      const text = typeof value === 'number' ? figure(value) : String(value)
      return field.unit ? `${text}\u2009${field.unit}` : text
    }
    case 'choice': {
      const choice = field.choices.find((c) => c.id === value)
      return choice ? nameIn(words.locale, choice) : String(value)
    }
    case 'person':
      return words.people[String(value)] ?? String(value)
    case 'place': {
      const { lon, lat } = value as PlaceValue
      return `${lon.toFixed(6)}, ${lat.toFixed(6)} WGS-84`
    }
    case 'file':
      return words.files(Array.isArray(value) ? value.length : 0)
    case 'table':
      return words.rows(Array.isArray(value) ? value.length : 0)
    default:
      return String(value)
  }
}

/** Entries oldest first, whichever way they came; acts of one instant by where each begins. */
export function chronological(entries: readonly HistoryEntry[]): HistoryEntry[] {
  const [first, last] = [entries[0], entries[entries.length - 1]]
  if (!first || !last) return []
  const links = (a: number, b: number) => entries.slice(1).filter((_, i) => entries[i + a]!.to === entries[i + b]!.from).length
  const back = first.at === last.at ? links(1, 0) > links(0, 1) : first.at > last.at
  return back ? [...entries].reverse() : [...entries]
}

export interface Step {
  state: string
  at: string | null
}
/** States a record has passed, in order, the present one last; staying in a state is no step. */
export function passed(entries: readonly HistoryEntry[], now: string): Step[] {
  const steps: Step[] = []
  for (const e of chronological(entries)) {
    // Reminders leave the record where it is.
    if (e.to && steps[steps.length - 1]?.state !== e.to) steps.push({ state: e.to, at: e.at })
  }
  if (steps[steps.length - 1]?.state !== now) steps.push({ state: now, at: null })
  return steps
}

/** Whole days from `today` to the civil date `due`; negative = past. */
export const daysUntil = (due: string, today: string) => Math.round((Date.parse(`${due}T00:00:00Z`) - Date.parse(`${today}T00:00:00Z`)) / 86_400_000)
