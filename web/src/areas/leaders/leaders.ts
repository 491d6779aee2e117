// What the leaders' page makes of its answer: where each count leads, and the order of a ranking. Pure. Start at [`evidence`].
import type { Leaders, LeadersDivision, LeadersMeasure } from '@/api/types'

export const CRITERIA = ['deaths', 'red_alarms', 'silent_hazards', 'listed_over', 'dangers_overdue'] as const
export type Criterion = (typeof CRITERIA)[number]
export type Place = { path: string; query: Record<string, string> }

const before = (day: string) => new Date(Date.parse(`${day}T00:00:00Z`) - 86_400_000).toISOString().slice(0, 10)

/** The rows behind a count: the page that lists them, asked for the same. */
export function evidence(criterion: string, region: string, today: string): Place {
  switch (criterion) {
    case 'deaths':
      return { path: '/accidents/statistics', query: { from: `${today.slice(0, 4)}-01-01`, to: today, region } }
    case 'red_alarms':
      return { path: '/alarms', query: { level: 'red', state: 'raised,acknowledged', region } }
    case 'silent_hazards':
      return { path: '/network/rates', query: { group: 'major_hazard', region, rate: 'online' } }
    case 'listed_over':
      return { path: '/registers/listed_supervision', query: { open: 'true', 'f.due_on.to': before(today), region } }
    default:
      return { path: '/registers/hidden_danger', query: { overdue: 'true', region } }
  }
}

export const measureOf = (division: LeadersDivision, criterion: string): LeadersMeasure | null => division.measures.find((m) => m.criterion === criterion) ?? null

/** Criteria that are counted at this level. */
export const counted = (leaders: Pick<Leaders, 'divisions'>): Criterion[] => CRITERIA.filter((c) => leaders.divisions.some((d) => measureOf(d, c)))

/** Divisions by one count, the most first; equal ones in order of codes. Nothing else moves them. */
export function ranked(divisions: readonly LeadersDivision[], by: string): LeadersDivision[] {
  const n = (division: LeadersDivision) => measureOf(division, by)?.n ?? -1
  return [...divisions].sort((a, b) => n(b) - n(a) || a.code.localeCompare(b.code))
}
