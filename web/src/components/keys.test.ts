import { expect, it } from 'vitest'
import { resolve } from './keys'

const run = (log: string[], name: string) => () => void log.push(name)

it('prefers_a_pair_then_the_newest_single', () => {
  const log: string[] = []
  const stack: Record<string, (event: KeyboardEvent) => void>[] = [
    { 'g a': run(log, 'go alarms'), '?': run(log, 'help') },
    { a: run(log, 'acknowledge') },
  ]
  resolve(stack, 'g', 'a')?.({} as KeyboardEvent)
  resolve(stack, null, 'a')?.({} as KeyboardEvent)
  resolve(stack, null, '?')?.({} as KeyboardEvent)
  expect(log).toEqual(['go alarms', 'acknowledge', 'help'])
  expect(resolve(stack, null, 'z')).toBeNull()
})
