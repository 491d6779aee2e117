// A week of a duty rota as a table: which shift and which gap stands on which day. Pure. Start at [`rowsOf`].
import type { DutyDesk, DutyShift } from '@/api/types'
import { civilDate, dayStart, instant } from '@/text/time'

export const DESKS = ['watch', 'leader', 'on_call'] as const
const DAY_MS = 86_400_000

/** Milliseconds, from and to. */
export interface Hours {
  from: number
  to: number
}
export interface Cell {
  day: string
  shifts: DutyShift[]
  gaps: Hours[]
}
export interface Row {
  id: string
  region: string
  regionName: string
  desk: string
  cells: Cell[]
}
export const hours = (x: { from: string; to: string }): Hours => ({ from: instant(x.from) ?? 0, to: instant(x.to) ?? 0 })

/** The parts of `x` that lie within the civil day. */
function within(x: Hours, day: string): Hours | null {
  const [from, to] = [Math.max(x.from, dayStart(day)), Math.min(x.to, dayStart(day) + DAY_MS)]
  return from < to ? { from, to } : null
}

/**
 * A row for each desk that has a shift or a gap in these days. A shift stands on the day on which it begins; one that began before them, on the first.
 */
export function rowsOf(days: string[], shifts: DutyShift[], desks: DutyDesk[]): Row[] {
  const rows = new Map<string, Row>()
  const row = (x: { region: string; region_name: string; desk: string }) => {
    const id = `${x.region} ${x.desk}`
    let found = rows.get(id)
    if (!found) rows.set(id, (found = { id, region: x.region, regionName: x.region_name, desk: x.desk, cells: days.map((day) => ({ day, shifts: [], gaps: [] })) }))
    return found
  }
  for (const shift of shifts) {
    const { from, to } = hours(shift)
    const first = days[0]
    if (!first || to <= dayStart(first)) continue
    const day = from < dayStart(first) ? first : civilDate(from)
    row(shift).cells.find((c) => c.day === day)?.shifts.push(shift)
  }
  for (const desk of desks) {
    const own = desk.gaps.map(hours)
    for (const [i, day] of days.entries()) {
      for (const gap of own) {
        const part = within(gap, day)
        if (part) row(desk).cells[i]!.gaps.push(part)
      }
    }
  }
  const order = (x: Row) => `${x.region} ${DESKS.findIndex((d) => d === x.desk)}`
  return [...rows.values()].sort((a, b) => (order(a) < order(b) ? -1 : 1))
}

/** Whether the person may write what the shift hands over: it is theirs, has begun, and nobody has confirmed. */
export function mayHandOver(shift: DutyShift, me: string | undefined, now: number): boolean {
  return (shift.user === me || shift.second === me) && hours(shift).from <= now && !shift.handover?.confirmed_at
}

/** Who may read it next is decided by the server; offered to whoever is on duty at the desk now or next and did not write it. */
export function mayConfirm(desk: DutyDesk, shift: DutyShift, me: string | undefined): boolean {
  if (!shift.handover || shift.handover.confirmed_at || shift.handover.by === me) return false
  return [...desk.on, ...(desk.next ? [desk.next] : [])].some((s) => s.id !== shift.id && (s.user === me || s.second === me))
}

/** The desks of the widest division that has a rota. */
export function top(desks: DutyDesk[]): DutyDesk[] {
  const widest = Math.min(...desks.map((d) => d.region.length))
  return desks.filter((d) => d.region.length === widest && d.region === desks.find((x) => x.region.length === widest)?.region)
}

/** The beginning of the first hour without anybody. */
export const firstGap = (desks: DutyDesk[]): number | null => {
  const begins = desks.flatMap((d) => d.gaps.map((g) => hours(g).from))
  return begins.length ? Math.min(...begins) : null
}

/** Hours without anybody, in whole and tenths of hours. */
export const uncovered = (desks: DutyDesk[]) => Math.round((desks.flatMap((d) => d.gaps.map(hours)).reduce((sum, x) => sum + x.to - x.from, 0) / 3_600_000) * 10) / 10
