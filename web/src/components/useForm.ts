// Sending a form: own checks first, then the server's problems at their fields; a stale revision is said as such.
import { ref } from 'vue'
import { ApiError } from '@/api/client'
import { type Shown, useProblem } from '@/api/problem'
import type { Problem } from '@/api/types'

/** Words and control of a problem that the server found. */
export type Shape = (shown: Shown, problem: Problem | null) => Shown
/** The server names nested fields `points.0.limits.h` or `limits.h`; the last word is our field. */
const lastWord: Shape = (shown) => ({ ...shown, field: shown.field?.split('.').pop() ?? null })

export function useForm(shape: Shape = lastWord) {
  const { describe } = useProblem()
  const problems = ref<Shown[]>([])
  const busy = ref(false)
  /** The last refusal was for a revision that somebody else replaced. */
  const stale = ref(false)
  /** Runs `send` when `check` finds nothing; true when it went through. What was typed stays in any case. */
  async function submit(check: () => Shown[], send: () => Promise<void>): Promise<boolean> {
    if (busy.value) return false
    stale.value = false
    problems.value = check()
    if (problems.value.length) return false
    busy.value = true
    try {
      await send()
      return true
    } catch (error) {
      stale.value = error instanceof ApiError && error.code === 'revision.stale'
      const found = error instanceof ApiError ? error.problems : []
      problems.value = describe(error).map((p, i) => shape(p, found[i] ?? null))
      return false
    } finally {
      busy.value = false
    }
  }
  return { problems, busy, stale, submit, reset: () => (problems.value = []) }
}
