// Reading a kind of register: names in the reader's language, what a form asks, what belongs together on a page.
// Pure; never fetches. Start at [`formItems`] and [`groups`].
import type { Field, Fields, HistoryEntry, PlaceValue, RecordReference, Register, State, Transition, Value } from './types'

export const nameIn = (locale: string, item: { name: string; name_en: string }) => (locale === 'en' ? item.name_en || item.name : item.name)
export const hintIn = (locale: string, field: Field) => (locale === 'en' ? field.hint_en || field.hint : field.hint) || undefined

export const fieldOf = (kind: Register, id: string): Field | undefined => kind.fields.find((f) => f.id === id)
export const stateOf = (kind: Register, id: string): State | undefined => kind.states.find((s) => s.id === id)
export const transitionOf = (kind: Register, id: string): Transition | undefined => kind.transitions.find((t) => t.id === id)

/** Transitions that make a record, as far as one of `roles` may take them; those with a page of their own are offered there. */
export function startTransitions(kind: Register, roles: readonly string[]): Transition[] {
  return kind.transitions.filter((t) => !t.own_page && t.from.includes(kind.start) && t.who.some((w) => roles.includes(w)))
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
  /** The transition that filled these fields; `computed` = they follow from others; `unfilled` = nobody did yet; `null` = not told. */
  by: Transition | 'computed' | 'unfilled' | null
  fields: Field[]
}
/** Fields of a record by what filled them, in the order in which that was done; then computed ones, then what nobody filled. */
export function groups(kind: Register, fields: Fields, entries: readonly HistoryEntry[]): Group[] {
  const told = chronological(entries).filter((e) => e.transition)
  const filledBy = new Map(told.flatMap((e) => Object.keys(e.changes).map((id) => [id, e.transition!] as const)))
  const found = new Map<string, Group>()
  const put = (key: string, by: Group['by'], field: Field) => {
    const group = found.get(key) ?? { by, fields: [] }
    group.fields.push(field)
    found.set(key, group)
  }
  for (const e of told) found.set(e.transition!, { by: transitionOf(kind, e.transition!) ?? null, fields: [] })
  for (const f of kind.fields) {
    const by = filledBy.get(f.id) ?? null
    if (f.computed) put('/computed', 'computed', f)
    else if (isEmpty(fields[f.id])) put('/unfilled', 'unfilled', f)
    else put(by ?? '/untold', by === null ? null : (transitionOf(kind, by) ?? null), f)
  }
  const last = ['/untold', '/computed', '/unfilled']
  const rank = ([key]: [string, Group]) => last.indexOf(key)
  return [...found].filter(([, g]) => g.fields.length).sort((x, y) => rank(x) - rank(y)).map(([, g]) => g)
}

/** The transition that brings a record on by the shortest step; what leads back, aside or nowhere is none. */
export function forward(kind: Register, from: string, transitions: readonly Transition[]): Transition | undefined {
  const place = (id: string) => kind.states.findIndex((s) => s.id === id)
  const on = transitions.filter((x) => place(x.to) > place(from))
  return on.sort((x, y) => place(x.to) - place(y.to))[0]
}

/** Whether one of `roles` may import records of this kind. */
export const mayImport = (kind: Register, roles: readonly string[]) =>
  kind.import.length > 0 && kind.import_by !== null && startTransitions(kind, roles).some((x) => x.id === kind.import_by)

export const isEmpty = (value: Value | undefined): boolean => value === null || value === undefined || value === '' || (Array.isArray(value) && value.length === 0)

/** A figure with all the digits it was given, thousands separated. */
export const figure = (value: number) => value.toLocaleString('en-US', { maximumFractionDigits: 9 })

/** What a record says beside its title, for who reads only that it is named: what its list shows, and the texts that a search looks into. */
export function saying(kind: Register, fields: Fields): Field[] {
  const ids = [...kind.list, ...kind.search]
  return kind.fields.filter((f) => ids.includes(f.id) && f.id !== kind.title && !isEmpty(fields[f.id]))
}
const BEGINNING = 60
/** The first words of its longest text beside the title. */
export function beginning(kind: Register, fields: Fields): string {
  const texts = kind.search.filter((id) => id !== kind.title).map((id) => String(fields[id] ?? ''))
  const longest = texts.reduce((a, b) => (b.length > a.length ? b : a), '').replace(/\s+/g, ' ')
  const chars = [...longest]
  return chars.length > BEGINNING ? `${chars.slice(0, BEGINNING).join('')}…` : longest
}

/** Roles in which somebody may write records of this kind: what is everybody's takes a role for the whole node. */
export function rolesFor(kind: Register, grants: readonly { role: string; region?: string | null; sector?: string | null; enterprise?: string | null }[]): string[] {
  const fit = kind.owner === 'everyone' ? grants.filter((g) => !g.region && !g.sector && !g.enterprise) : grants
  return [...new Set(fit.map((g) => g.role))]
}

export interface Words {
  locale: string
  people: Record<string, string>
  records: Readonly<Record<string, RecordReference>>
  unseen: string
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
    case 'record':
      return words.records[String(value)]?.title ?? words.unseen
    case 'place': {
      const { lon, lat } = value as PlaceValue
      return `${lon.toFixed(6)}, ${lat.toFixed(6)} WGS-84`
    }
    case 'datetime':
      return String(value).replace('T', ' ')
    case 'file':
      return words.files(Array.isArray(value) ? value.length : 0)
    case 'table':
      return words.rows(Array.isArray(value) ? value.length : 0)
    default:
      return typeof value === 'object' ? JSON.stringify(value) : String(value)
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

/** What the node is called in entries of what it did of itself. */
const NODE = 'system'
/** Who did it: a person here; somebody at another node, by the name that came with the order; or the node itself. */
export const doer = (entry: Pick<HistoryEntry, 'user' | 'name'>, node: string): string => (entry.user === null && (!entry.name || entry.name === NODE) ? node : entry.name || (entry.user ?? node))

/** What an entry without a transition tells; `update` = something of which no more is known. */
export type Act = 'merge' | 'redivide' | 'take_over' | 'take' | 'renew' | 'remind' | 'deadline' | 'update'
export function actOf(entry: HistoryEntry): Act {
  if (entry.action === 'merge' || entry.action === 'redivide' || entry.action === 'take_over' || entry.action === 'take') return entry.action
  // The node looks at deadlines; where nobody was told, that is no reminder.
  if (entry.action === 'escalate') return entry.steps.length ? 'remind' : 'deadline'
  // No person: the register was replaced, and what is computed followed.
  return entry.action === 'update' && entry.user === null ? 'renew' : 'update'
}
/** Whether an entry stands on paper: steps, and what else changed whose it is or who is named there. */
export const isPrinted = (entry: HistoryEntry): boolean => !!entry.transition || ['merge', 'take_over', 'take'].includes(actOf(entry))

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

/** Minutes from `now` to an instant of a field, Beijing; negative = past, begun minutes count. */
export const minutesTo = (at: string, now: number) => {
  const minutes = (Date.parse(`${at}:00+08:00`) - now) / 60_000
  return minutes < 0 ? Math.floor(minutes) : Math.ceil(minutes)
}

/** Whole days from `today` to the civil date `due`; negative = past. */
export const daysUntil = (due: string, today: string) => Math.round((Date.parse(`${due}T00:00:00Z`) - Date.parse(`${today}T00:00:00Z`)) / 86_400_000)
