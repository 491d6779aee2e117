import { expect, it } from 'vitest'
import zhCN from '@/locales/zh-CN'
import { PARTS, partsFor, plusDays, weekStart } from './home'

const all = { licences: true, can: () => true }
it('begins_with_what_presses_the_role_most', () => {
  expect(partsFor(['inspector'], all)).toEqual(['tasks', 'duty', 'late', 'alarms'])
  expect(partsFor(['duty_officer'], all)[0]).toBe('alarms')
  expect(partsFor(['worker'], all)).toEqual(['tasks', 'alarms'])
  expect(partsFor(['inspector', 'supervisor'], all)).toEqual(['tasks', 'duty', 'late', 'alarms', 'licences'])
})
it('asks_for_nothing_that_is_not_there_or_not_allowed', () => {
  expect(partsFor(['supervisor'], { ...all, licences: false })).not.toContain('licences')
  expect(partsFor(['administrator'], { ...all, can: () => false })).not.toContain('packs')
})
it('has_parts_and_words_for_every_role', () => {
  for (const role of Object.keys(zhCN.role)) {
    expect(partsFor([role], all).length, role).toBeGreaterThan(1)
    expect(Object.keys(zhCN.home.duty), role).toContain(role)
  }
  for (const part of PARTS) expect(Object.keys(zhCN.home.part)).toContain(part)
})
it('starts_a_week_on_monday', () => {
  expect(weekStart('2026-11-30')).toBe('2026-11-30')
  expect(weekStart('2026-11-29')).toBe('2026-11-23')
  expect(plusDays('2026-12-30', 3)).toBe('2027-01-02')
})
