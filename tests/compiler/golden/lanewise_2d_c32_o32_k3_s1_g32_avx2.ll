%0 = load ptr, ptr %1
%2 = load ptr, ptr %3
%4 = load <8 x float>, <8 x float>* %5
%6 = load <8 x float>, <8 x float>* %7
%8 = load <8 x float>, <8 x float>* %9
%10 = load <8 x float>, <8 x float>* %11
%12 = load <8 x float>, <8 x float>* %13
%14 = load <8 x float>, <8 x float>* %15
%16 = mul nsw i64 %17, 32
%18 = getelementptr inbounds float, ptr %0, i64 %16
%19 = load <8 x float>, ptr %2, align 4
%20 = getelementptr inbounds float, ptr %2, i64 8
%21 = load <8 x float>, ptr %20, align 4
%22 = getelementptr inbounds float, ptr %2, i64 16
%23 = load <8 x float>, ptr %22, align 4
%24 = load <8 x float>, ptr %18, align 4
%25 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %24, <8 x float> %19, <8 x float> %4)
%26 = getelementptr inbounds float, ptr %18, i64 32
%27 = load <8 x float>, ptr %26, align 4
%28 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %27, <8 x float> %21, <8 x float> %25)
%29 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %27, <8 x float> %19, <8 x float> %6)
%30 = getelementptr inbounds float, ptr %18, i64 64
%31 = load <8 x float>, ptr %30, align 4
%32 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %31, <8 x float> %23, <8 x float> %28)
%33 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %31, <8 x float> %21, <8 x float> %29)
%34 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %31, <8 x float> %19, <8 x float> %8)
%35 = getelementptr inbounds float, ptr %18, i64 96
%36 = load <8 x float>, ptr %35, align 4
%37 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %36, <8 x float> %23, <8 x float> %33)
%38 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %36, <8 x float> %21, <8 x float> %34)
%39 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %36, <8 x float> %19, <8 x float> %10)
%40 = getelementptr inbounds float, ptr %18, i64 128
%41 = load <8 x float>, ptr %40, align 4
%42 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %41, <8 x float> %23, <8 x float> %38)
%43 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %41, <8 x float> %21, <8 x float> %39)
%44 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %41, <8 x float> %19, <8 x float> %12)
%45 = getelementptr inbounds float, ptr %18, i64 160
%46 = load <8 x float>, ptr %45, align 4
%47 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %46, <8 x float> %23, <8 x float> %43)
%48 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %46, <8 x float> %21, <8 x float> %44)
%49 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %46, <8 x float> %19, <8 x float> %14)
%50 = getelementptr inbounds float, ptr %18, i64 192
%51 = load <8 x float>, ptr %50, align 4
%52 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %51, <8 x float> %23, <8 x float> %48)
%53 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %51, <8 x float> %21, <8 x float> %49)
%54 = getelementptr inbounds float, ptr %18, i64 224
%55 = load <8 x float>, ptr %54, align 4
%56 = call <8 x float> @"llvm.fma.v8f32"(<8 x float> %55, <8 x float> %23, <8 x float> %53)
store <8 x float> %32, <8 x float>* %5
store <8 x float> %37, <8 x float>* %7
store <8 x float> %42, <8 x float>* %9
store <8 x float> %47, <8 x float>* %11
store <8 x float> %52, <8 x float>* %13
store <8 x float> %56, <8 x float>* %15
%57 = getelementptr inbounds float, ptr %0, i64 %58
store ptr %57, ptr %1
%59 = getelementptr inbounds float, ptr %2, i64 24
store ptr %59, ptr %3
%60 = add nsw i64 %61, 1
store i64 %60, i64* %62
br label %63
