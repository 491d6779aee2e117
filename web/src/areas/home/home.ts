// What a person sees first: which parts, by role, in which order; which days make a week. Pure. Start at [`partsFor`].

/** Parts of the page, each built from endpoints that other pages use too. */
export const PARTS = ['duty', 'tasks', 'alarms', 'late', 'licences', 'devices', 'packs'] as const
export type Part = (typeof PARTS)[number]

/** What a role has to look after in a week, the most pressing first. */
const OF_ROLE: Record<string, readonly Part[]> = {
  duty_officer: ['alarms', 'duty', 'tasks', 'late'],
  supervisor: ['tasks', 'alarms', 'duty', 'late', 'licences'],
  inspector: ['tasks', 'duty', 'late', 'alarms'],
  safety_manager: ['tasks', 'alarms', 'licences', 'late', 'devices'],
  worker: ['tasks', 'alarms'],
  leader: ['tasks', 'duty', 'late', 'alarms', 'licences'],
  administrator: ['devices', 'packs', 'duty', 'tasks', 'late', 'alarms'],
  screen: ['alarms', 'duty', 'late'],
}

export interface Known {
  /** The register of licences is on. */
  licences: boolean
  can: (permission: string) => boolean
}
/** The parts of somebody with these roles: those of the first role, then what the others add; only what may be asked. */
export function partsFor(roles: readonly string[], known: Known): Part[] {
  const wanted = [...new Set(roles.flatMap((role): readonly Part[] => OF_ROLE[role] ?? ['tasks', 'alarms']))]
  return wanted.filter((part) => (part === 'licences' ? known.licences : part !== 'packs' || known.can('manage_system')))
}

const DAY_MS = 86_400_000
export const plusDays = (day: string, days: number) => new Date(Date.parse(`${day}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10)
/** Monday of the week of the civil date `today`. */
export const weekStart = (today: string) => plusDays(today, -((new Date(`${today}T00:00:00Z`).getUTCDay() + 6) % 7))
