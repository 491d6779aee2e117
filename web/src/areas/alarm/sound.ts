// The alarm tone: two short beeps for red, one for orange. Muting is visible and ends by itself after fifteen minutes.
// Browsers keep sound off until the first touch or key; `blocked` says so. Start at [`useSound`].
import { readonly, ref } from 'vue'
import type { Level } from '@/api/types'

const MUTE_MS = 15 * 60_000
const muted = ref(false)
const blocked = ref(false)
let context: AudioContext | null = null
let unmute: ReturnType<typeof setTimeout> | undefined

function beep(audio: AudioContext, at: number, hz: number) {
  const tone = audio.createOscillator()
  const gain = audio.createGain()
  tone.type = 'square'
  tone.frequency.value = hz
  gain.gain.setValueAtTime(0.12, at)
  gain.gain.exponentialRampToValueAtTime(0.001, at + 0.28)
  tone.connect(gain).connect(audio.destination)
  tone.start(at)
  tone.stop(at + 0.3)
}

function play(level: Level) {
  try {
    context ??= new AudioContext()
  } catch {
    // No sound device: the screen still warns.
    blocked.value = true
    return
  }
  const audio = context
  void audio.resume().then(() => {
    blocked.value = false
    beep(audio, audio.currentTime + 0.02, level === 'red' ? 988 : 740)
    if (level === 'red') beep(audio, audio.currentTime + 0.37, 988)
  })
  blocked.value = audio.state !== 'running'
}

/** Three falling tones: not an alarm of the field but the house itself. */
function playFault() {
  try {
    context ??= new AudioContext()
  } catch {
    blocked.value = true
    return
  }
  const audio = context
  void audio.resume().then(() => {
    blocked.value = false
    ;[880, 660, 440].forEach((hz, i) => beep(audio, audio.currentTime + 0.02 + i * 0.35, hz))
  })
  blocked.value = audio.state !== 'running'
}

function setMuted(on: boolean) {
  muted.value = on
  clearTimeout(unmute)
  if (on) unmute = setTimeout(() => (muted.value = false), MUTE_MS)
}

export function useSound() {
  return {
    muted: readonly(muted),
    blocked: readonly(blocked),
    setMuted,
    /** Plays even when muted: it is how one finds out whether sound works. */
    test: () => play('red'),
    /** The node is silent or cannot be relied on. */
    fault() {
      if (!muted.value) playFault()
    },
    warn(level: Level) {
      if (!muted.value && (level === 'red' || level === 'orange')) play(level)
    },
  }
}
