import { describe, expect, it } from "vitest";

import { duration, money, rate } from "./words";

describe("figures", () => {
  it("are those that the cards and the commands say", () => {
    expect([8.4, 125, 11_220, 7200].map(duration)).toEqual(["8.4 s", "2 min 05 s", "3 h 07 min", "2 h"]);
    expect([0, 4000, 1_230_000, 123_456_000_000].map(money)).toEqual(["$0", "<$0.0001", "$0.0123", "$1,234.56"]);
    expect([0, 100_600_000].map(rate)).toEqual(["free", "$1.006/h"]);
  });
});
