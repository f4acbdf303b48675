// Tables in pages of two megabytes.
//
// A request reads a thousand rows that lie anywhere in a table. In pages of four kilobytes nearly
// every row needs the address of a page that the processor does not hold, and looking it up takes
// longer than reading the row, above all in a virtual machine.

#ifndef TWOTOWER_LARGE_PAGES_H_
#define TWOTOWER_LARGE_PAGES_H_

#include <sys/mman.h>

#include <atomic>
#include <cstdint>

#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace twotower {

constexpr uintptr_t kLargePage = 1 << 21;

// Asks the kernel for large pages where whole ones lie inside a stretch of memory. Content and
// addresses stay. Where the kernel refuses (Linux before 6.1, no two megabytes in one piece), small
// pages stay, and only time is lost.
inline void UseLargePages(const void* begin, size_t bytes) {
#if defined(__linux__)
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, which older headers do not name
  const uintptr_t address = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = (address + kLargePage - 1) / kLargePage * kLargePage;
  const uintptr_t end = (address + bytes) / kLargePage * kLargePage;
  if (first >= end) return;
  void* pages = reinterpret_cast<void*>(first);
  if (madvise(pages, end - first, MADV_HUGEPAGE) == 0) madvise(pages, end - first, kCollapse);
#endif
}

// A table that an operation reads, which is moved into large pages once.
class LargePages {
 public:
  // Moves the table in a thread of `workers`, a gigabyte in one to three seconds, unless it was
  // asked for before. Requests are answered meanwhile.
  void Hold(const tensorflow::Tensor& table, tensorflow::thread::ThreadPool* workers) {
    const void* data = table.data();
    if (held_.load(std::memory_order_relaxed) == data || held_.exchange(data) == data) return;
    // The copy of the tensor keeps the memory alive.
    workers->Schedule([table] { UseLargePages(table.data(), table.TotalBytes()); });
  }

 private:
  std::atomic<const void*> held_{nullptr};
};

}  // namespace twotower

#endif  // TWOTOWER_LARGE_PAGES_H_
