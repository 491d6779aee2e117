import { expect, it } from 'vitest'
import type { Task } from '@/areas/register/types'
import { group, groupOf, weekEnd } from './group'

// 2026-11-25 is a Wednesday.
const TODAY = '2026-11-25'
it('ends_a_week_on_sunday', () => {
  expect(weekEnd(TODAY)).toBe('2026-11-29')
  expect(weekEnd('2026-11-29')).toBe('2026-11-29')
  expect(weekEnd('2026-11-30')).toBe('2026-12-06')
})
it('sorts_a_task_by_its_day', () => {
  const of = (due_on: string | null, overdue = false) => groupOf({ due_on, overdue }, TODAY)
  expect(of('2026-11-24')).toBe('overdue')
  expect(of('2026-11-25')).toBe('week')
  expect(of('2026-11-29')).toBe('week')
  expect(of('2026-11-30')).toBe('later')
  expect(of(null)).toBe('undated')
  expect(of('2026-11-25', true)).toBe('overdue')
})
it('leaves_out_groups_without_tasks_and_keeps_the_order_within', () => {
  const task = (id: string, due_on: string | null) => ({ record: { id, due_on, overdue: false } }) as Task
  const found = group([task('a', null), task('b', '2027-01-01'), task('c', '2026-12-01')], TODAY)
  expect(found.map((g) => [g.group, g.tasks.map((t) => t.record.id)])).toEqual([
    ['later', ['b', 'c']],
    ['undated', ['a']],
  ])
})
