import { describe, expect, test } from '@jest/globals';
import { canonicalTimeZone } from './time-zone.js';

describe('time zones', () => {
  test.each([
    ['UTC', 'UTC'],
    ['Europe/Paris', 'Europe/Paris'],
    ['europe/paris', 'Europe/Paris'],
    ['Japan', 'Asia/Tokyo'],
    ['EST', 'America/Panama'],
    ['America/Argentina/Buenos_Aires', 'America/Argentina/Buenos_Aires'],
  ])('%s is read as a zone that Postgres reads the same', (name, canonical) => {
    // Some versions of ICU keep a zone's older name; both name the same rules.
    const accepted = canonicalTimeZone(name);
    expect(accepted === canonical || accepted === 'America/Buenos_Aires').toBe(true);
  });

  test.each(['', '+02:00', '-0800', 'Europe/Atlantis', "UTC'; drop table x", 'x'.repeat(65), 'Europe/Paris\u0000'])(
    'refuses %j',
    (name) => {
      expect(canonicalTimeZone(name)).toBeNull();
    },
  );
});
