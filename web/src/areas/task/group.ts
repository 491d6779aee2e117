// Tasks by when they are due: overdue, this week (to Sunday), later, without a date. Pure. Start at [`group`].
import type { Task } from '@/areas/register/types'

export const GROUPS = ['overdue', 'week', 'later', 'undated'] as const
export type Group = (typeof GROUPS)[number]

/** The Sunday of the week of the civil date `today`; a week starts on Monday. */
export function weekEnd(today: string): string {
  const ms = Date.parse(`${today}T00:00:00Z`)
  const weekday = (new Date(ms).getUTCDay() + 6) % 7
  return new Date(ms + (6 - weekday) * 86_400_000).toISOString().slice(0, 10)
}

export function groupOf(record: Pick<Task['record'], 'due_on' | 'overdue'>, today: string): Group {
  if (record.overdue) return 'overdue'
  if (!record.due_on) return 'undated'
  if (record.due_on < today) return 'overdue'
  return record.due_on <= weekEnd(today) ? 'week' : 'later'
}

/** The groups that have tasks, in order, each in the order given. */
export function group(tasks: readonly Task[], today: string): { group: Group; tasks: Task[] }[] {
  return GROUPS.map((g) => ({ group: g, tasks: tasks.filter((t) => groupOf(t.record, today) === g) })).filter((g) => g.tasks.length > 0)
}
